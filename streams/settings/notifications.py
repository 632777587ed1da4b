"""How customers are told."""

from __future__ import annotations

import re
from datetime import timezone, tzinfo
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final, Literal
from zoneinfo import ZoneInfo

import idna
from pydantic import Field, SecretStr, field_validator, model_validator

from streams.settings.section import Section

# RFC 5321, section 4.1.2, without quoted strings, and RFC 6531, section 3.3, for other alphabets before the @.
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u00a1-\U0010ffff-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")


def is_address(text: str) -> bool:
    """Tell whether this is an e-mail address and nothing else: what any program takes for the same one."""
    # RFC 2047, section 5: an encoded word is no part of an address; who decodes it all the same has another one.
    return _ADDRESS.fullmatch(text) is not None and text.isprintable() and "=?" not in text


def domain_in_ascii(address: str) -> str:
    """Write an address's domain as the domain name system has it: ``a@bücher.example`` is ``a@xn--bcher-kva.example``.

    Sources: RFC 5891, and UTS #46 for upper case and full-width forms. What is no such domain is left as it is, for
    :func:`is_address` to refuse.
    """
    local_part, at, domain = address.rpartition("@")
    if not at or domain.isascii():
        return address
    try:
        return f"{local_part}@{idna.encode(domain, uts46=True).decode()}"
    except idna.IDNAError:
        return address


def address_of(sender: str) -> str:
    """Return the address of a sender such as ``The shop <orders@shop.example>``.

    Raises:
        ValueError: it is not one address, with or without a name before it.
    """
    return _mailbox(sender).addr_spec


def _mailbox(sender: str) -> Address:
    message = EmailMessage(policy=SMTP)
    try:
        message["From"] = sender
        (found,) = [] if message["From"].defects else message["From"].addresses
        if not found.username or not found.domain:
            raise ValueError("no address")
        address = domain_in_ascii(found.addr_spec)
    except (ValueError, LookupError, MessageError):  # LookupError: what Python's parser makes of "a@"
        address = ""
    if not is_address(address) or not address.isascii():
        raise ValueError("expected one address, as in: The shop <orders@shop.example>")
    return Address(display_name=found.display_name, addr_spec=address)


def zone_of(name: str) -> tzinfo:
    """Return a time zone by its IANA name.

    Raises:
        ValueError: this machine knows no such zone.
    """
    if name == "UTC":
        return timezone.utc  # also where no time zones are installed
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ValueError("no time zone known here; expected an IANA name, such as Asia/Seoul") from None


class NotificationSettings(Section):
    """How letters and webhooks go out. As it is here, nothing leaves this machine."""

    smtp_host: str = Field("127.0.0.1", description="mail server; 'paystream notifications mailbox' is one to try")
    smtp_port: int = Field(8025, ge=1, le=65535, description="its port; 587 with starttls, 465 with tls")
    smtp_security: Literal["none", "starttls", "tls"] = Field("none", description="how the connection is encrypted")
    smtp_username: str | None = Field(None, description="if the server asks for one")
    smtp_password: SecretStr | None = Field(None, description="likewise; never shown or logged")
    smtp_timeout: float = Field(
        10.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds for one step with it; twice that until it has a letter in hand",
    )
    # RFC 5321, section 4.5.3.2.6 allows a server ten minutes; here the handler's time-out ends all waiting.
    smtp_final_timeout: float = Field(
        30.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds it may take to accept a letter that it has in hand; with twice smtp_timeout, less than "
        "PAYSTREAM_FAILURE__HANDLER_TIMEOUT",
    )
    sender: str = Field("The shop <orders@shop.example>", description="who letters are from")
    time_zone: str = Field("UTC", description="whose days letters give as dates: an IANA name, such as Asia/Seoul")
    webhook_timeout: float = Field(10.0, gt=0, allow_inf_nan=False, description="seconds for one webhook")
    webhook_private: bool = Field(
        False, description="allow webhooks without TLS and to private addresses: for trying out only"
    )
    # A shop's own mail server takes more; one that is rented often counts by the second and by connections.
    rate_per_host: float = Field(20.0, gt=0, description="most messages per second to one host, from one worker")
    concurrency_per_host: int = Field(4, ge=1, description="most at once to one host, from one worker")

    @field_validator("smtp_host")
    @classmethod
    def _a_host_alone(cls, value: str) -> str:
        if not _HOST.fullmatch(value):
            raise ValueError("expected a name or an address alone, as in mail.example; the port has its own setting")
        return value

    @model_validator(mode="after")
    def _both_or_neither(self) -> NotificationSettings:
        if (self.smtp_username is None) != (self.smtp_password is None):
            raise ValueError(
                "PAYSTREAM_NOTIFICATIONS__SMTP_USERNAME and PAYSTREAM_NOTIFICATIONS__SMTP_PASSWORD are needed both, or "
                "neither"
            )
        return self

    @field_validator("sender")
    @classmethod
    def _one_mailbox(cls, value: str) -> str:
        mailbox = _mailbox(value)
        return value if mailbox.addr_spec in value else str(mailbox)

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        zone_of(value)
        return value
