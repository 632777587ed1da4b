"""The console script ``paystream``: ``faust -A streams.app``, with our commands beside Faust's."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    # Faust looks for -A in sys.argv itself, before click does, to import the application that brings
    # the commands; so it has to be there.
    sys.argv[1:1] = ["-A", "streams.app"]
    from faust.cli.faust import cli

    cli(prog_name="paystream")
