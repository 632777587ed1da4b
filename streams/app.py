"""The composition root: ``faust -A streams.app worker`` starts from here, and so does ``paystream``."""

from __future__ import annotations

import sys

from streams.application import Application
from streams.commands.register import register_commands
from streams.failure.errors import SetupError
from streams.settings import settings


def compose() -> Application:
    """Read the settings, make the application, and add the commands."""
    try:
        application = Application(settings())
    except SetupError as error:
        sys.stderr.write(f"paystream: {error}\n")
        raise SystemExit(int(error.exit_status)) from None
    register_commands()
    return application


app = compose()
