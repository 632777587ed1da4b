"""The demo's own little world: settings for its worker and for itself, whatever the user's are.

A shell that is set up for production must neither break the demo nor be reached by it.
"""

from __future__ import annotations

import os
from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from streams.settings import PREFIX, Settings


class _DemoSettings(Settings):
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what the demo says, and nothing from outside."""
        return (init_settings,)


def demo_settings(bootstrap_servers: str, brokers: int, web_port: int) -> Settings:
    """Return the demo's settings; topics are as safe as this many brokers allow, as in production."""
    return _DemoSettings.model_validate(_values(bootstrap_servers, brokers, web_port))


def worker_environment(bootstrap_servers: str, brokers: int, web_port: int) -> dict[str, str]:
    """Return the environment that gives a worker the same settings."""
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    for section, values in _values(bootstrap_servers, brokers, web_port).items():
        for name, value in values.items():
            environment[f"{PREFIX}{section}__{name}".upper()] = str(value)
    # A log that is written when it happens, since it is shown when the worker dies.
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def _values(bootstrap_servers: str, brokers: int, web_port: int) -> dict[str, dict[str, Any]]:
    replication = min(brokers, 3)
    return {
        "kafka": {"bootstrap_servers": bootstrap_servers},
        "topics": {"replication": replication, "min_insync_replicas": 2 if replication == 3 else 1},
        "web": {"port": web_port},
    }
