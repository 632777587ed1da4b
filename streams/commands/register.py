"""Makes our commands part of Faust's command line."""

from __future__ import annotations

import click
from faust.cli.base import cli

from streams.commands.topics import topics


def register_commands() -> None:
    """Add our commands to ``faust -A streams.app`` (and so to ``paystream``)."""
    commands: tuple[click.Command, ...] = (topics,)
    for command in commands:
        cli.add_command(command)
