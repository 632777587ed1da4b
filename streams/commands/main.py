"""The console script ``paystream``: ``faust -A streams.app``, with our commands beside Faust's."""

from __future__ import annotations

import sys
from typing import Final

_WELCOME: Final = """From a completed payment to everything that must hear about it, exactly once.

\b
Try it:          paystream demo
On your Kafka:   export PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS=kafka-1:9092
                 paystream topics apply
                 paystream worker -l info

This is the command line of Faust with commands of its own: all options of 'faust -A streams.app' are there.
"""

# Faust's own, for what paystream does not use: tables, live checks and declared record types.
_OF_NO_USE_HERE: Final = ("clean-versions", "livecheck", "model", "models", "reset", "send", "tables")


def main() -> None:
    """Run the command line."""
    # Faust looks for -A in sys.argv itself, before click does, to import the application that brings
    # the commands; so it has to be there.
    sys.argv[1:1] = ["-A", "streams.app"]
    from faust.cli.faust import cli

    cli.help = _WELCOME
    cli.no_args_is_help = True
    for name in _OF_NO_USE_HERE:
        cli.commands[name].hidden = True
    cli(prog_name="paystream")
