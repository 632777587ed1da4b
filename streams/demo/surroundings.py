"""The demo's own little world: settings for its worker and for itself, whatever the user's are.

A shell that is set up for production must neither break the demo nor be reached by it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from streams.database.address import sqlite_url
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


@dataclass(frozen=True, slots=True)
class Place:
    """Where the demo's parts are.

    Attributes:
        bootstrap_servers: its Kafka.
        brokers: how many.
        web_port: the worker's page.
        folder: for its database and the platform's files; None where no agent needs one.
        smtp_port: its mailbox; likewise.
    """

    bootstrap_servers: str
    brokers: int
    web_port: int
    folder: Path | None = None
    smtp_port: int | None = None


def demo_settings(place: Place) -> Settings:
    """Return the demo's settings; topics are as safe as this many brokers allow, as in production."""
    return _DemoSettings.model_validate(_values(place))


def worker_environment(place: Place) -> dict[str, str]:
    """Return the environment that gives a worker the same settings."""
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    for section, values in _values(place).items():
        for name, value in values.items():
            environment[f"{PREFIX}{section}__{name}".upper()] = str(value)
    # A log that is written when it happens, since it is shown when the worker dies.
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def _values(place: Place) -> dict[str, dict[str, Any]]:
    replication = min(place.brokers, 3)
    values: dict[str, dict[str, Any]] = {
        "kafka": {"bootstrap_servers": place.bootstrap_servers},
        "topics": {"replication": replication, "min_insync_replicas": 2 if replication == 3 else 1},
        "web": {"port": place.web_port},
    }
    if place.folder is not None:
        values["database"] = {"url": sqlite_url(place.folder / "paystream.db")}
        # Nobody wants to wait a minute for a demo's files.
        values["platform"] = {"folder": str(place.folder / "platform"), "roll_age": 0.2}
    if place.smtp_port is not None:
        # The mailbox is our own: it need not be spared.
        values["notifications"] = {"smtp_port": place.smtp_port, "rate_per_host": 1000.0}
    return values


@contextmanager
def folder_for_a_run(name: str) -> Iterator[Path]:
    """Give a folder that is removed afterwards, unless something went wrong that a log in it may explain."""
    folder = Path(tempfile.mkdtemp(prefix=f"paystream-{name}-"))
    failed = False
    try:
        yield folder
    except Exception:
        failed = True
        raise
    finally:
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)
