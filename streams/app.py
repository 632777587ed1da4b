"""The composition root: ``faust -A streams.app worker`` starts from here, and so does ``paystream``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable

from streams.application import Application
from streams.commands.register import register_commands
from streams.commands.terminal import escape_what_cannot_be_written
from streams.failure.errors import SetupError
from streams.settings import settings
from streams.web.pages import add_pages


def compose() -> Application:
    """Read the settings, make the application, and add pages and commands."""
    # Faust's own commands print, too, and the worker's banner has letters of its own.
    escape_what_cannot_be_written()
    try:
        chosen = settings()
        _find_agents(chosen.agents)
        application = Application(chosen)
    except SetupError as error:
        sys.stderr.write(f"paystream: {error}\n")
        raise SystemExit(int(error.exit_status)) from None
    add_pages(application)
    register_commands()
    return application


def _find_agents(modules: Iterable[str]) -> None:
    """Say which setting is wrong, before Faust says that a module of ``autodiscover`` is.

    Raises:
        SetupError: there is no such module.
    """
    for name in modules:
        try:
            found = importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            raise SetupError(f"PAYSTREAM_AGENTS names {name}, and there is no such module on Python's path")


app = compose()
