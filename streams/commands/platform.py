"""``paystream platform``: whether the data platform has got every order, once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata
from rich.table import Column, Table

from streams.commands.command import asynchronous
from streams.commands.tables import print_table
from streams.delivery.clients import client_options, connect, silent_clients
from streams.failure.errors import ExitStatus, PaystreamError, SetupError
from streams.settings import Settings, settings
from streams.topics import PLATFORM_ORDERS

if TYPE_CHECKING:
    from streams.parquet.folder import Folder
    from streams.parquet.ranges import FileRange

# The agent's name: a group is <app id>.<agent>.
_AGENT = "platform"


@click.group()
def platform() -> None:
    """Look after the Parquet files that the platform agent writes."""


@platform.command()
@asynchronous
async def check() -> None:
    """Compare the files with the committed offsets; exit with status 1 if they disagree.

    Every offset must be covered by exactly one range of files, every record be there once, and the files end where
    the committed offset says. Change nothing; may be run while workers run.
    """
    try:
        from streams.parquet.check import Committed, by_partition, missing_days
        from streams.parquet.folder import Folder
        from streams.parquet.ranges import Mark
    except ImportError as error:
        raise SetupError(f"this needs {error.name}: install paystream[parquet]") from None
    chosen = settings()
    folder = Folder(chosen.platform.folder)
    with silent_clients():
        partitions = await _partitions(chosen)
        # A worker may go on meanwhile: files must reach to what was committed before, and not beyond what is now.
        before = await _committed(chosen)
        try:
            # First those aside: one that is moved meanwhile is then seen twice, and not missed.
            waiting = folder.waiting()
            found = _read(folder)
        except OSError as error:
            raise PaystreamError(f"{folder.url} cannot be listed: {error.strerror or error}") from error
        after = await _committed(chosen)
    committed = {
        number: Committed(position.offset, Mark.of(position.metadata), after[number].offset)
        for number, position in before.items()
    }
    flaws = [*found.unreadable, *missing_days(found.shown, waiting)]
    reports = by_partition(PLATFORM_ORDERS, found.files, waiting, committed, partitions | set(committed), flaws)
    _show(reports, folder.url)
    if any(report.problems for report in reports):
        raise SystemExit(int(ExitStatus.FAILED))


@dataclass(frozen=True, slots=True)
class _Found:
    """What the folder's files say."""

    files: list[tuple[FileRange, list[int]]] = field(default_factory=list)
    shown: list[tuple[FileRange, str, frozenset[str]]] = field(default_factory=list)
    unreadable: list[tuple[FileRange, str]] = field(default_factory=list)


def _read(folder: Folder) -> _Found:
    found = _Found()
    for covered, path in folder.published():
        day = path.rpartition("/")[0].rpartition("/")[2].removeprefix("dt=")
        offsets: list[int] = []
        days: frozenset[str] = frozenset()
        try:
            offsets, days = folder.read_back(path)
        except OSError as error:
            found.unreadable.append((covered, f"{path} cannot be read: {error.strerror or error}"))
        found.files.append((covered, offsets))
        found.shown.append((covered, day, days))
    return found


async def _partitions(chosen: Settings) -> set[int]:
    client = await connect(chosen.kafka)
    try:
        return set((await client.fetch_all_metadata()).partitions_for_topic(PLATFORM_ORDERS) or ())
    finally:
        await client.close()


async def _committed(chosen: Settings) -> dict[int, OffsetAndMetadata]:
    admin = AIOKafkaAdminClient(**client_options(chosen.kafka))
    try:
        await admin.start()
        offsets = await admin.list_consumer_group_offsets(f"{chosen.app_id}.{_AGENT}")
    finally:
        await admin.close()
    return {
        source.partition: found
        for source, found in offsets.items()
        if source.topic == PLATFORM_ORDERS and found.offset >= 0
    }


def _show(reports: list[Any], url: str) -> None:
    figures = [Column(name, justify="right") for name in ("files", "records", "from", "to", "committed")]
    table = Table(Column("partition", no_wrap=True), *figures, "verdict", title=url, title_justify="left")
    for each in reports:
        last = None if each.end is None else each.end - 1
        shown = ["-" if number is None else f"{number:,}" for number in (each.first, last, each.committed)]
        verdict = "[bold red]see below[/]" if each.problems else "[green]complete[/]"
        table.add_row(f"{PLATFORM_ORDERS}-{each.partition}", f"{each.files:,}", f"{each.rows:,}", *shown, verdict)
    print_table(table)
    for each in reports:
        for line in (*each.problems, *each.notes):
            click.echo(f"{PLATFORM_ORDERS}-{each.partition}: {line}")
