"""The composition root: ``faust -A streams.app worker`` starts from here, and so does ``paystream``."""

from __future__ import annotations

import sys

from streams.application import Application
from streams.commands.register import register_commands
from streams.failure.errors import SetupError
from streams.settings import settings
from streams.web.pages import add_pages


def compose() -> Application:
    """Read the settings, make the application, and add pages and commands."""
    try:
        application = Application(settings())
    except SetupError as error:
        sys.stderr.write(f"paystream: {error}\n")
        raise SystemExit(int(error.exit_status)) from None
    add_pages(application)
    register_commands()
    return application


app = compose()
