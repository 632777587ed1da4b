"""How the brokers are reached."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from streams.settings.section import Section

_HOST_AND_PORT: Final = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]@]+):(?P<port>[0-9]{1,5})")
_MOST_PORT: Final = 65_535


class KafkaSettings(Section):
    """How to reach the brokers, and how long to wait for them."""

    bootstrap_servers: str = Field("localhost:9092", description="host:port, several separated by commas")
    client_id: str = Field("paystream", description="name of this client in the brokers' logs and quotas")
    instance_id: str | None = Field(
        None, description="static membership: a name that is this worker's alone and survives its restart"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="SSL encrypts, SASL asks for a password"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="how the password is given; counts with SASL only"
    )
    sasl_username: str | None = Field(None, description="needed with SASL")
    sasl_password: SecretStr | None = Field(None, description="needed with SASL; never shown or logged")
    ssl_cafile: Path | None = Field(None, description="certificates to trust; the system's if not set")
    ssl_certfile: Path | None = Field(None, description="this client's certificate")
    ssl_keyfile: Path | None = Field(None, description="this client's private key")
    # Below 10 s a busy machine loses its membership for a garbage collection; above it a killed
    # worker's partitions stay idle for longer than an operator wants to wait.
    session_timeout: float = Field(10.0, gt=0, description="silence after which a worker is taken for dead")
    # Stopping the lanes must fit inside; shorter than the session, or a rebalance outlasts it.
    rebalance_timeout: float = Field(6.0, gt=0, description="time a worker has to let go of its partitions")
    consumer_request_timeout: float = Field(8.0, gt=0, description="longer than rebalance_timeout")
    producer_request_timeout: float = Field(
        5.0, gt=0, description="how long one request to a broker may take before it is tried again"
    )
    transaction_timeout: float = Field(
        30.0, gt=0, description="after this the broker aborts a transaction whose worker has gone silent"
    )
    deadline: float = Field(
        60.0, gt=0, description="how long a step may wait for brokers before the process gives up and ends"
    )
    # A lane that opens while the others' fetch is held waits for it; ten empty fetches a second cost nothing.
    fetch_max_wait: float = Field(0.1, gt=0, description="how long a broker holds an empty fetch")
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field("none", description="of what is written")

    @model_validator(mode="after")
    def _timeouts_fit_together(self) -> KafkaSettings:
        if self.consumer_request_timeout <= self.rebalance_timeout:
            raise ValueError(
                "PAYSTREAM_KAFKA__CONSUMER_REQUEST_TIMEOUT must be longer than PAYSTREAM_KAFKA__REBALANCE_TIMEOUT: "
                "JoinGroup uses it"
            )
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            raise ValueError(
                f"PAYSTREAM_KAFKA__SECURITY_PROTOCOL={self.security_protocol} needs PAYSTREAM_KAFKA__SASL_USERNAME and "
                "PAYSTREAM_KAFKA__SASL_PASSWORD"
            )
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ValueError("PAYSTREAM_KAFKA__SSL_KEYFILE is of no use without PAYSTREAM_KAFKA__SSL_CERTFILE")
        return self

    @field_validator("bootstrap_servers")
    @classmethod
    def _addresses(cls, value: str) -> str:
        # As Kafka's own clients do it: nobody has to guess which port a name alone means.
        addresses = [address.strip() for address in value.split(",")]
        for address in addresses:
            found = _HOST_AND_PORT.fullmatch(address)
            if found is None or not 0 < int(found["port"]) <= _MOST_PORT:
                raise ValueError("expected host:port, several separated by commas, as in kafka-1:9092,kafka-2:9092")
        return ",".join(addresses)
