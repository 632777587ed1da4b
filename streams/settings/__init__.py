"""Every setting of paystream: one section a module, put together here.

Read from the environment with the prefix ``PAYSTREAM_`` and ``__`` between levels, for example
``PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS=kafka-1:9092,kafka-2:9092``. All durations are in seconds.
"""

from __future__ import annotations

import functools
import os
import re
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from streams.failure.errors import SetupError
from streams.settings.database import DatabaseSettings
from streams.settings.delivery import DeliverySettings, Guarantee
from streams.settings.failure import FailureSettings
from streams.settings.kafka import KafkaSettings
from streams.settings.notifications import NotificationSettings
from streams.settings.platform import PlatformSettings, Sink
from streams.settings.topics import TopicSettings
from streams.settings.web import WebSettings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = [
    "PREFIX",
    "DatabaseSettings",
    "DeliverySettings",
    "FailureSettings",
    "Guarantee",
    "KafkaSettings",
    "NotificationSettings",
    "PlatformSettings",
    "Settings",
    "Sink",
    "TopicSettings",
    "WebSettings",
    "load_settings",
    "settings",
]

PREFIX = "PAYSTREAM_"

# How deep a section lies below all settings.
_A_SECTION: Final = 1


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
