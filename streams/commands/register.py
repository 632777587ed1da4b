"""Makes our commands part of Faust's command line."""

from __future__ import annotations

import click
from faust.cli.base import cli

from streams.commands.analytics import analytics
from streams.commands.compare import compare
from streams.commands.database import database
from streams.commands.dead_letters import dead_letters
from streams.commands.demo import demo
from streams.commands.inventory import inventory
from streams.commands.lanes import lanes
from streams.commands.notifications import notifications
from streams.commands.platform import platform
from streams.commands.publish import publish
from streams.commands.sandbox import sandbox
from streams.commands.topics import topics


def register_commands() -> None:
    """Add our commands to ``faust -A streams.app`` (and so to ``paystream``)."""
    commands: tuple[click.Command, ...] = (
        analytics,
        compare,
        database,
        dead_letters,
        demo,
        inventory,
        lanes,
        notifications,
        platform,
        publish,
        sandbox,
        topics,
    )
    for command in commands:
        cli.add_command(command)
