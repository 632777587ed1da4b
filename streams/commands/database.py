"""``paystream database``: the schema of the database, and how far its lanes have come."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import click
from rich.table import Column, Table
from rich.text import Text

from streams.commands.command import asynchronous
from streams.commands.tables import print_table
from streams.database.engine import Database
from streams.database.offsets import LaneOffset, lane_offsets, seek
from streams.database.schema import check_schema, explaining, upgrade
from streams.database.trouble import is_database_error, refusal, said
from streams.dead_letters.text import printable
from streams.failure.errors import PaystreamError
from streams.settings import settings
from streams.stores.pruning import prune

# Kafka's own limits: an offset is a signed number of 64 bits, a partition one of 32.
_MOST_OFFSET: Final = 2**63 - 1
_MOST_PARTITION: Final = 2**31 - 1
_DAY: Final = 86_400
# Brokers delete whole segments, and begin a new one after Kafka's segment.ms at the latest, which is 7 days.
_SEGMENT: Final = 7 * _DAY


@asynccontextmanager
async def open_database(*, checked: bool = True) -> AsyncIterator[Database]:
    """Open the database of the settings for a command.

    Arguments:
        checked: whether its schema must be the one that this paystream needs.

    Raises:
        SetupError: it must, and is not; or a right or a table is missing.
        DatabaseUnreachable: the database does not answer.
        PaystreamError: the database refuses what the command asks of it. What exactly that was is not repeated: it
            may be personal.
    """
    database = Database(settings().database)
    try:
        with explaining(database), _not_repeating(database):
            if checked:
                await check_schema(database)
            yield database
    finally:
        await database.close()


@contextmanager
def _not_repeating(database: Database) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_database_error(error) and refusal(error) is None:
            raise PaystreamError(f"{database.name} refuses it: {said(error)}") from None
        raise


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
@click.option("--partition", type=click.IntRange(0, _MOST_PARTITION), help="with an offset: whose it is")
@asynchronous
async def seek_(group: str, topic: str, to: str, partition: int | None) -> None:
    """Have an agent go on elsewhere, for example read everything again.

    The agents recognise what they have already done by its id, so a replay changes nothing that is right. Stop
    the workers first; one that is still at work ends with status 75, and goes on at the new place when it is
    started again.

    \b
        paystream database seek paystream.inventory inventory.movements beginning
    """
    if to != "beginning" and not (to.isdecimal() and len(to) <= len(str(_MOST_OFFSET)) and int(to) <= _MOST_OFFSET):
        raise click.BadParameter("must be an offset such as 1200, or the word beginning", param_hint="OFFSET")
    if to != "beginning" and partition is None:
        raise click.UsageError("an offset is one partition's: name that with --partition")
    async with open_database() as opened:
        moved = await seek(opened, group, topic, partition, None if to == "beginning" else int(to))
        if not moved:
            raise PaystreamError(f"the database has no such lane of {group}: 'paystream database offsets' lists them")
        _show(moved)


@database.command("prune")
@click.option(
    "--older-than", "days", type=click.IntRange(min=1), required=True, metavar="DAYS",
    help="more than twice what topics keep at most, or a replay counts events twice",
)  # fmt: skip
@asynchronous
async def prune_(days: int) -> None:
    """Forget the ids of events that were done long ago: stock movements, sales, notifications.

    The agents keep them to recognise what comes again. Stock and sales themselves are not touched. May be run while
    workers run.

    \b
        paystream database prune --older-than 30
    """
    kept = settings().topics.retention
    least = 2 * (kept + _SEGMENT)
    if days * _DAY <= least:
        raise click.BadParameter(
            f"must be more than {least / _DAY:g}: topics keep records for {kept / _DAY:g} days "
            f"(PAYSTREAM_TOPICS__RETENTION) and up to {_SEGMENT / _DAY:g} more, and a repeat may come as late as that; "
            "a replay would count what is forgotten a second time",
            param_hint="--older-than",
        )
    async with open_database() as opened:
        for name, rows in (await prune(opened, int(time.time()) - days * _DAY)).items():
            click.echo(f"{name}: {rows:,} rows deleted")


def _show(lanes: Sequence[LaneOffset]) -> None:
    table = Table(
        "group", "topic", Column("partition", justify="right"), Column("goes on at", justify="right"), "owners"
    )
    for lane in lanes:
        goes_on = "beginning" if lane.next_offset is None else f"{lane.next_offset:,}"
        table.add_row(
            Text(printable(lane.group)), Text(printable(lane.topic)), str(lane.partition), goes_on, str(lane.owners)
        )
    print_table(table)
