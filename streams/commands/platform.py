"""``paystream platform``: whether the data platform has got every order, once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from rich.table import Column, Table

from streams.commands.command import asynchronous, extra
from streams.commands.tables import print_table
from streams.dead_letters.text import printable
from streams.failure.errors import BrokerUnreachable, ExitStatus, PaystreamError, SetupError, TopicMissing
from streams.failure.policy import one_line
from streams.kafka.client_log import silent_clients
from streams.kafka.clients import close_consumer, connect, make_consumer
from streams.kafka.group_offsets import committed_position
from streams.kafka.offset_note import OffsetNote
from streams.kafka.topic_id import topic_identity
from streams.settings import KafkaSettings, Settings, Sink, settings
from streams.topics import PLATFORM_ORDERS

if TYPE_CHECKING:
    from streams.platform.check import Committed, FoundFile, PartitionReport
    from streams.platform.folder import Folder, ShownFile
    from streams.platform.same_ids import SameId, SameIds

# Who has more than these has them all from one cause.
_SAME_IDS_SHOWN: Final = 20
# The agent's name: a group is <app id>.<agent>.
_AGENT: Final = "platform"
_STYLES: Final = {"complete": "green", "see below": "bold red", "nothing yet": "dim"}


@dataclass(frozen=True, slots=True)
class Position:
    """What the group has committed of a partition.

    Attributes:
        offset: where it goes on.
        note: what came with it.
        former: whether it is of a topic that was deleted since.
    """

    offset: int
    note: OffsetNote
    former: bool


@click.group()
def platform() -> None:
    """Look after the Parquet files that the platform agent writes."""


@platform.command()
@click.option(
    "--reviewed", "reviewed", multiple=True, metavar="ID",
    help="An id of which it is known that several records have it: it is listed, and no failure. May be repeated.",
)  # fmt: skip
@asynchronous
async def check(reviewed: tuple[str, ...]) -> None:
    """Compare the files with the committed offsets; exit with status 1 if they disagree.

    Every offset must be covered by exactly one range of files, every record be there once, the files end where the
    committed offset says, and nothing else lie where readers look. Every file is read whole, so that a damaged one
    is found. Records of one id must say the same: whoever takes each id once would miss the others. Change nothing;
    may be run while workers run.

    \b
    Examples:
      paystream platform check
      PAYSTREAM_PLATFORM__FOLDER=/srv/lake/orders paystream platform check
    """
    with extra("parquet"):
        from streams.platform.check import by_partition
        from streams.platform.folder import Folder
        from streams.platform.same_ids import SameIds
    chosen = settings()
    if chosen.platform.sink is not Sink.FILES:
        raise SetupError(
            f"PAYSTREAM_PLATFORM__SINK={chosen.platform.sink.value}: the records go to the platform's API, so there "
            "are no files to check"
        )
    folder = Folder(chosen.platform.folder)
    with silent_clients(), closing(SameIds()) as same_ids:
        partitions = await _partitions(chosen.kafka)
        # A worker may go on meanwhile: files must reach to what was committed before, and not beyond what is now.
        before = await _positions(chosen, partitions)
        try:
            # First those aside: one that is moved meanwhile is then seen twice, and not missed.
            waiting = folder.waiting()
            files, foreign = _read_all(folder, same_ids)
        except OSError as error:
            raise PaystreamError(f"{folder.url} cannot be listed: {error.strerror or error}") from error
        after = await _positions(chosen, partitions)
        several = list(same_ids.found())
    reports = by_partition(PLATFORM_ORDERS, files, waiting, _committed(before, after), partitions)
    if folder.is_missing() and any(report.problems for report in reports):
        # A relative path, and another working directory than the workers': gaps everywhere would say little.
        raise SetupError(f"there is no folder {folder.url}: PAYSTREAM_PLATFORM__FOLDER says where it is")
    _show(reports, foreign, folder.url)
    unknown = _show_same_ids(several, reviewed)
    if foreign or unknown or any(report.problems for report in reports):
        raise SystemExit(int(ExitStatus.FAILED))


# -- files -----------------------------------------------------------------------------------------


def _read_all(folder: Folder, same_ids: SameIds) -> tuple[list[FoundFile], list[str]]:
    """Read the topic's files; list those that readers see, too, and that do not belong there."""
    listing = folder.listing()
    ours = [file for file in listing.files if file.covered.topic == PLATFORM_ORDERS]
    others = [file.name for file in listing.files if file.covered.topic != PLATFORM_ORDERS]
    return [_read(folder, file, same_ids) for file in ours], listing.foreign + others


def _read(folder: Folder, file: ShownFile, same_ids: SameIds) -> FoundFile:
    from streams.platform.check import FoundFile, look_into

    try:
        contents = folder.read_back(file.name)
    except OSError as error:
        flaw = f"{file.name} cannot be read: {error.strerror or error}"
        return FoundFile(file.covered, file.day, flaws=[flaw])
    rows = zip(contents.said, contents.offsets, strict=True)
    same_ids.add(file.covered.partition, ((name, digest, offset) for (name, digest), offset in rows))
    return look_into(file.name, file.covered, file.day, contents.offsets, contents.days, contents.range_days)


# -- brokers ---------------------------------------------------------------------------------------


async def _partitions(kafka: KafkaSettings) -> set[int]:
    client = await connect(kafka)
    try:
        found = (await client.fetch_all_metadata()).partitions_for_topic(PLATFORM_ORDERS)
    except KafkaError as error:
        raise _as_ours(error, kafka) from error
    finally:
        await client.close()
    if not found:
        raise TopicMissing(
            f"there is no topic {PLATFORM_ORDERS} at {kafka.bootstrap_servers}: create it with 'paystream topics apply'"
        )
    return set(found)


async def _positions(chosen: Settings, partitions: Iterable[int]) -> dict[int, Position]:
    """Ask what the agent's group has committed, without joining it.

    Raises:
        BrokerUnreachable: the brokers did not say within the deadline.
        SetupError: they refuse to.
    """
    kafka, group = chosen.kafka, f"{chosen.app_id}.{_AGENT}"
    consumer = make_consumer(kafka, group, chosen.delivery.max_batch_bytes)
    try:
        return await asyncio.wait_for(_ask(consumer, group, partitions), kafka.deadline)
    except asyncio.TimeoutError as error:
        raise BrokerUnreachable(
            f"the brokers at {kafka.bootstrap_servers} did not say for {kafka.deadline:g} s what {group} has committed"
        ) from error
    except KafkaError as error:
        raise _as_ours(error, kafka) from error
    finally:
        await close_consumer(consumer)


async def _ask(consumer: AIOKafkaConsumer, group: str, partitions: Iterable[int]) -> dict[int, Position]:
    await consumer.start()
    found = {}
    topic = await topic_identity(consumer._client, TopicPartition(PLATFORM_ORDERS, 0))
    for number in partitions:
        position = await committed_position(consumer, group, TopicPartition(PLATFORM_ORDERS, number))
        if position is not None:
            note = OffsetNote.of(position.metadata)
            former = topic is not None and topic.is_another_than(note.topic)
            found[number] = Position(position.offset, note, former)
    return found


def _as_ours(error: KafkaError, kafka: KafkaSettings) -> SetupError:
    if isinstance(error, KafkaConnectionError):
        return BrokerUnreachable(f"the brokers at {kafka.bootstrap_servers} have gone: {error}")
    return SetupError(f"the brokers at {kafka.bootstrap_servers} said: {error}")


def _committed(before: Mapping[int, Position], after: Mapping[int, Position]) -> dict[int, Committed]:
    from streams.platform.check import Committed
    from streams.platform.ranges import Mark

    nothing = Position(0, OffsetNote(), former=False)
    found = {}
    for number in before.keys() | after.keys():
        position = before.get(number, nothing)
        # What is forgotten meanwhile (the group was deleted) was there when the files were listed.
        latest = after.get(number, position)
        found[number] = Committed(position.offset, Mark.of(position.note), latest.offset, latest.former)
    return found


# -- the answer ------------------------------------------------------------------------------------


def _show(reports: list[PartitionReport], foreign: list[str], url: str) -> None:
    figures = [Column(name, justify="right") for name in ("files", "records", "from", "to", "committed")]
    table = Table(Column("partition", no_wrap=True), *figures, "verdict")
    for each in reports:
        last = None if each.end is None else each.end - 1
        shown = ["-" if number is None else f"{number:,}" for number in (each.first, last, each.committed)]
        verdict = f"[{_STYLES[each.verdict]}]{each.verdict}[/]"
        table.add_row(f"{PLATFORM_ORDERS}-{each.partition}", f"{each.files:,}", f"{each.rows:,}", *shown, verdict)
    click.echo(printable(url))
    print_table(table)
    for each in reports:
        for line in (*each.problems, *each.notes):
            click.echo(printable(f"{PLATFORM_ORDERS}-{each.partition}: {line}"))
    for path in foreign:
        click.echo(f"{printable(path)} is none of the agent's files, or not where it belongs, and readers would see it")


def _show_same_ids(several: Sequence[SameId], reviewed: Sequence[str]) -> int:
    """Show ids that several records have; return how many of them nobody has reviewed."""
    known = set(reviewed)
    unknown = [each for each in several if each.name not in known]
    for each in [*unknown[:_SAME_IDS_SHOWN], *(each for each in several if each.name in known)]:
        places = ", ".join(each.places[:_SAME_IDS_SHOWN])
        note = ", which was reviewed" if each.name in known else ""
        click.echo(
            f"{printable(one_line(each.name))} is the id of {len(each.places)} different records{note}: {places}"
        )
    if len(unknown) > _SAME_IDS_SHOWN:
        click.echo(f"and {len(unknown) - _SAME_IDS_SHOWN:,} more ids of different records")
    return len(unknown)
