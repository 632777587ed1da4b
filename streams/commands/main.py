"""The console script ``paystream``: ``faust -A streams.app``, with our commands beside Faust's."""

from __future__ import annotations

import sys
from typing import Final

import click

_APP: Final = "streams.app"

_WELCOME: Final = """From a completed payment to everything that must hear about it, exactly once.

\b
Try it:          paystream demo
On your Kafka:   export PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS=kafka-1:9092
                 paystream topics apply
                 paystream worker -l info

This is the command line of Faust with commands of its own: all options of 'faust -A streams.app' are there.
"""

_WORKER: Final = """Run the agents until SIGTERM or Ctrl-C.

Runs all agents, or those that PAYSTREAM_AGENTS names. agents.payments, agents.cancellations and
agents.dead_letters need no database. Start as many workers as you like: they share the partitions.

SIGTERM has a worker finish the batch in hand, commit it, leave its partitions to the others and end with status
0. What its other exit statuses mean, and what each asks of you, is in docs/operations.md under "Exit statuses";
'paystream topics check' and 'paystream database check' find most causes.

Its pages (/health/live/, /health/ready/, /status/) are at 127.0.0.1:6066, for this machine alone, unless
--web-bind and --web-port, or PAYSTREAM_WEB__BIND and __PORT, say otherwise. Of several workers on one machine each
needs a port of its own. Without -l it says nothing below a warning.

\b
Examples:
  paystream worker -l info
  paystream worker -l info -p 6067
  PAYSTREAM_AGENTS=agents.payments,agents.dead_letters paystream worker -l info
"""

# Faust's own, for what paystream does not use: tables, live checks and declared record types.
_OF_NO_USE_HERE: Final = ("clean-versions", "livecheck", "model", "models", "reset", "send", "tables")
# Needs a package that Faust does not bring, and ends in a traceback without it.
_BROKEN: Final = "completion"


def main() -> None:
    """Run the command line."""
    # Faust looks for -A in sys.argv itself, before click does, to import the application that brings
    # the commands; so it has to be there.
    sys.argv[1:1] = ["-A", _APP]
    from faust.cli.faust import cli

    cli.help = _WELCOME
    cli.no_args_is_help = True
    for name in _OF_NO_USE_HERE:
        cli.commands[name].hidden = True
    del cli.commands[_BROKEN]
    cli.commands["worker"].help = _WORKER
    _refuse_other_applications(cli)
    _say_our_version(cli)
    cli(prog_name="paystream")


def _refuse_other_applications(cli: click.Group) -> None:
    """Take -A out of the help, and say in one line that another one cannot be given."""

    def check(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
        if name not in (None, _APP):
            raise click.UsageError(f"this runs {_APP} alone: for another application, use 'faust -A {name}'")
        return name

    for option in cli.params:
        if isinstance(option, click.Option) and option.name == "app":
            option.hidden = True
            option.callback = check


def _say_our_version(cli: click.Group) -> None:
    """Have --version say the package's version, and Faust's after it."""
    from faust import __version__ as faust

    cli.params = [option for option in cli.params if option.name != "version"]
    click.version_option(package_name="paystream", message=f"%(prog)s %(version)s, on Faust {faust}")(cli)
