"""How customers are told."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class NotificationSettings(BaseModel):
    """How letters and webhooks go out. As it is here, nothing leaves this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    smtp_host: str = Field("127.0.0.1", description="mail server; 'paystream notifications mailbox' is one to try")
    smtp_port: int = Field(8025, ge=1, le=65535, description="its port; 587 with starttls, 465 with tls")
    smtp_security: Literal["none", "starttls", "tls"] = Field("none", description="how the connection is encrypted")
    smtp_username: str | None = Field(None, description="if the server asks for one")
    smtp_password: SecretStr | None = Field(None, description="likewise; never shown or logged")
    smtp_timeout: float = Field(10.0, gt=0, description="seconds for one letter")
    sender: str = Field("The shop <orders@shop.example>", description="who letters are from")
    webhook_timeout: float = Field(10.0, gt=0, description="seconds for one webhook")
    webhook_private: bool = Field(
        False, description="allow webhooks without TLS and to private addresses: for trying out only"
    )
    # A shop's own mail server takes more; one that is rented often counts by the second and by connections.
    rate_per_host: float = Field(20.0, gt=0, description="most messages per second to one host, from one worker")
    concurrency_per_host: int = Field(4, ge=1, description="most at once to one host, from one worker")
