"""``paystream database``: the schema of the database, and how far its lanes have come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import click
from rich.table import Column, Table

from streams.commands.command import asynchronous
from streams.commands.tables import print_table
from streams.database.engine import Database
from streams.database.offsets import LaneOffset, lane_offsets, seek
from streams.database.schema import check_schema, upgrade
from streams.failure.errors import PaystreamError
from streams.settings import settings


@asynccontextmanager
async def open_database(*, checked: bool = True) -> AsyncIterator[Database]:
    """Open the database of the settings for a command.

    Arguments:
        checked: whether its schema must be the one that this paystream needs.

    Raises:
        SetupError: it must, and is not.
    """
    database = Database(settings().database)
    try:
        if checked:
            await check_schema(database)
        yield database
    finally:
        await database.close()


@click.group()
def database() -> None:
    """Prepare and look after the database in which agents keep stock, sales and notifications.

    PAYSTREAM_DATABASE__URL says where it is: sqlite:///paystream.db, a file in the current folder, if it is
    not set; postgresql://user:password@host/database in production.

    \b
        paystream database upgrade
    """


@database.command("upgrade")
@asynchronous
async def upgrade_() -> None:
    """Create the tables, or bring them to this version's schema. Nothing happens to what is up to date."""
    async with open_database(checked=False) as opened:
        before = await upgrade(opened)
        if before.current:
            click.echo(f"{opened.name} is up to date: schema {before.needed}")
        else:
            click.echo(f"{opened.name} has schema {before.needed} now (before: {before.found or 'none'})")


@database.command()
@asynchronous
async def check() -> None:
    """Change nothing; exit with status 78 if the schema is not this version's, 69 if the database is down."""
    async with open_database() as opened:
        click.echo(f"{opened.name} is up to date")


@database.command()
@asynchronous
async def offsets() -> None:
    """Show how far each lane of the agents that write to the database has come."""
    async with open_database() as opened:
        _show(await lane_offsets(opened))


@database.command("seek")
@click.argument("group")
@click.argument("topic")
@click.argument("to", metavar="OFFSET|beginning")
@click.option("--partition", type=click.IntRange(min=0), help="one partition; all of them if not given")
@asynchronous
async def seek_(group: str, topic: str, to: str, partition: int | None) -> None:
    """Have an agent go on elsewhere, for example read everything again.

    The agents recognise what they have already done by its id, so a replay changes nothing that is right. Stop
    the workers first; one that is still at work ends with status 75, and goes on at the new place when it is
    started again.

    \b
        paystream database seek paystream.inventory inventory.movements beginning
    """
    if to != "beginning" and not to.isdecimal():
        raise click.BadParameter("must be an offset such as 1200, or the word beginning", param_hint="OFFSET")
    async with open_database() as opened:
        moved = await seek(opened, group, topic, partition, None if to == "beginning" else int(to))
        if not moved:
            raise PaystreamError(f"the database has no such lane of {group}: 'paystream database offsets' lists them")
        _show(moved)


def _show(lanes: Sequence[LaneOffset]) -> None:
    table = Table(
        "group", "topic", Column("partition", justify="right"), Column("goes on at", justify="right"), "owners"
    )
    for lane in lanes:
        goes_on = "beginning" if lane.next_offset is None else f"{lane.next_offset:,}"
        table.add_row(lane.group, lane.topic, str(lane.partition), goes_on, str(lane.owners))
    print_table(table)
