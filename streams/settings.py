"""Every setting of paystream, in one place.

Read from the environment with the prefix ``PAYSTREAM_`` and ``__`` between levels, for example
``PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS=kafka-1:9092,kafka-2:9092``. All durations are in seconds.
"""

from __future__ import annotations

import enum
import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from streams.failure.errors import SetupError
from streams.notification_settings import NotificationSettings
from streams.platform_settings import PlatformSettings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PREFIX = "PAYSTREAM_"

_HOST_AND_PORT: Final = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]@]+):(?P<port>[0-9]{1,5})")
_MOST_PORT: Final = 65_535
# How deep a section lies below all settings.
_A_SECTION: Final = 1


class Guarantee(str, enum.Enum):
    """How a batch is finished; see :mod:`streams.delivery.guarantee`."""

    EXACTLY_ONCE = "exactly_once"
    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(_Section):
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


class DeliverySettings(_Section):
    """How batches are formed, finished and stopped."""

    guarantee: Guarantee = Field(
        Guarantee.EXACTLY_ONCE, description="what a crash may do to the outputs: nothing, repeat them, lose them"
    )
    # A transaction costs about ten round trips; at 2,000 records they are 3 % of the batch's cost.
    max_batch_records: int = Field(2000, ge=1, description="most records in one batch, so in one transaction")
    max_batch_bytes: int = Field(4_194_304, ge=1, description="most bytes of one partition fetched at a time")
    concurrency: int = Field(4, ge=1, description="actors per agent: handlers that may wait on the world at once")
    stop_timeout: float = Field(5.0, gt=0, description="time to finish the batch in hand when told to stop")
    # Longer than a rebalance, a broker's failover (some 10 s) and the brokers' deadline below kafka.
    stall_after: float = Field(90.0, gt=0, description="without progress for so long, a lane with work is not alive")


class FailureSettings(_Section):
    """When to try again, how often, and where to put what will not succeed."""

    backoff: Literal["fixed", "exponential"] = Field("exponential", description="how pauses between attempts grow")
    initial_interval: float = Field(0.5, ge=0, description="first pause; every pause if backoff is fixed")
    multiplier: float = Field(2.0, ge=1, description="each pause so many times the one before")
    max_interval: float = Field(30.0, ge=0, description="longest pause")
    jitter: float = Field(0.1, ge=0, description="0.1: each pause is up to 10 % longer or shorter, by chance")
    max_retries: int = Field(5, ge=0, description="attempts after the first")
    max_elapsed: float = Field(
        300.0, gt=0, description="stop retrying this long after the first failure, outages not counted"
    )
    handler_timeout: float = Field(60.0, gt=0, description="longest one asynchronous handler call may take")
    pause_interval: float = Field(5.0, gt=0, description="between two probes of a dependency that is down")
    # After a bad deploy everything fails: better to stop after a hundred letters than after a million.
    max_consecutive_dead_letters: int = Field(100, ge=1, description="in a row, before the lane halts and asks")
    max_dead_letter_share: float = Field(0.5, gt=0, le=1, description="of the window, before the lane halts and asks")
    dead_letter_window: int = Field(1000, ge=1, description="records by which the share is judged")
    dead_letter_suffix: str = Field(".DLT", min_length=1, description="Spring Kafka from 3.3 on uses -dlt")
    max_trace_bytes: int = Field(8192, ge=0, description="longest stack trace kept in a dead letter")
    max_message_bytes: int = Field(1024, ge=64, description="longest error message kept in a dead letter")


class TopicSettings(_Section):
    """What ``paystream topics apply`` creates."""

    partitions: int = Field(4, ge=1, description="of every topic: the limit of workers that can share the work")
    replication: int = Field(1, ge=1, description="3 in production")
    min_insync_replicas: int = Field(1, ge=1, description="2 in production")
    retention: float = Field(7 * 86_400, gt=0, description="of events")
    dead_letter_retention: float = Field(30 * 86_400, gt=0, description="of dead letters: longer than events")
    # Kafka's default of 1 MiB is too little for an event of 1 MiB with its headers; twice that leaves room.
    max_message_bytes: int = Field(2_097_152, ge=32_768, description="largest event; dead letters may be larger")

    @model_validator(mode="after")
    def _insync_fits(self) -> TopicSettings:
        if self.min_insync_replicas > self.replication:
            raise ValueError(
                "PAYSTREAM_TOPICS__MIN_INSYNC_REPLICAS is larger than PAYSTREAM_TOPICS__REPLICATION: nothing could be "
                "written"
            )
        return self


class DatabaseSettings(_Section):
    """Where agents keep what they know: stock, sales, whom to notify, and with it how far they have come."""

    url: SecretStr = Field(
        SecretStr("sqlite:///paystream.db"),
        description="sqlite:///FILE, or postgresql://user:password@host/database; never shown or logged",
    )
    # A lane uses one connection at a time, and a worker of the defaults has at most some 16 lanes that do.
    pool_size: int = Field(8, ge=1, description="most connections of one worker (PostgreSQL)")
    timeout: float = Field(10.0, gt=0, description="for a connection or a statement, before the database is down")


class WebSettings(_Section):
    """The statistics page."""

    enabled: bool = Field(True, description="whether there is a page at all")
    bind: str = Field("127.0.0.1", description="address to listen on; the page has no password")
    port: int = Field(6066, ge=1, le=65535, description="port to listen on")

    @property
    def host(self) -> str:
        """The address as it stands in a URL."""
        return f"[{self.bind}]" if ":" in self.bind else self.bind


class Settings(BaseSettings):
    """All settings. Build it with :func:`load_settings`, which explains what is wrong."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", env_ignore_empty=True
    )

    app_id: str = Field("paystream", min_length=1, description="consumer groups are named <app id>.<agent>")
    agents: Annotated[tuple[str, ...], NoDecode] = Field(
        (
            "agents.payments",
            "agents.cancellations",
            "agents.platform",
            "agents.notifications",
            "agents.inventory",
            "agents.analytics",
            "agents.dead_letters",
        ),
        description="modules whose agents this worker runs, separated by commas",
    )
    kafka: KafkaSettings = KafkaSettings()
    delivery: DeliverySettings = DeliverySettings()
    failure: FailureSettings = FailureSettings()
    topics: TopicSettings = TopicSettings()
    database: DatabaseSettings = DatabaseSettings()
    notifications: NotificationSettings = NotificationSettings()
    platform: PlatformSettings = PlatformSettings()
    web: WebSettings = WebSettings()

    @field_validator("agents", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        SetupError: naming each environment variable that is wrong and what it must be.
    """
    unknown = _unknown_variables()
    if unknown:
        raise SetupError(
            f"these settings do not exist: {', '.join(unknown)} (between levels there are two underscores, as in "
            "PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS)"
        )
    try:
        return Settings()
    except SettingsError as error:
        raise SetupError(f"{_misread(error)}: a section; set its parts, as in {PREFIX}KAFKA__CLIENT_ID") from None
    except ValidationError as error:
        lines = [_explained(problem) for problem in error.errors(include_url=False, include_input=False)]
        raise SetupError("these settings are wrong:\n  " + "\n  ".join(lines)) from None


def _explained(problem: ErrorDetails) -> str:
    """Say which variable is wrong and why; what is wrong with several together names them itself."""
    ours = problem["type"] == "value_error"
    reason = str(problem["ctx"]["error"]) if ours else problem["msg"]
    if ours and len(problem["loc"]) == _A_SECTION:
        return reason
    return f"{PREFIX}{'__'.join(str(part).upper() for part in problem['loc'])}: {reason}"


def _unknown_variables() -> list[str]:
    """A variable misspelt at its first level would be ignored, and the worker run on a default."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(
        name
        for name in map(str.upper, os.environ)
        if name.startswith(PREFIX)
        and name.partition("__")[0] not in known
        and name != "PAYSTREAM_CRASH_AT"
        and not name.startswith(f"{PREFIX}FAUST_")
    )


def _misread(error: SettingsError) -> str:
    found = re.search(r'field "(\w+)"', str(error))
    return PREFIX + found[1].upper() if found else "a setting"


@functools.cache
def settings() -> Settings:
    """Return the process's settings, read once."""
    return load_settings()
