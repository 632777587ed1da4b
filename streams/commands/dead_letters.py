"""``paystream dead-letters``: what lies in the dead-letter topics, and why."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import click
from aiokafka import TopicPartition
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from models.dead_letter import DeadLetterView
from streams.commands.command import asynchronous
from streams.dead_letters.kinds import Kind, kind_of, why
from streams.dead_letters.reading import read_dead_letter
from streams.dead_letters.text import HeaderText, header_texts, payload_as_json, payload_as_text, printable
from streams.dead_letters.view import is_dead_letter, view_of
from streams.dead_letters.writing import LEFT_OUT, SPRING
from streams.failure.errors import PartitionUnserved, PaystreamError
from streams.kafka.client_log import silent_clients
from streams.kafka.damage import DamagedBatch
from streams.kafka.record import Record
from streams.kafka.topic_reader import read_dead_letter_at, read_dead_letters
from streams.settings import settings
from streams.topics import dead_letter_topics

SHOWN: Final = 50
"""Letters in the list unless told otherwise: a screen or two. The summary counts all of them."""
# A pipe has no width: in this one no reason, which has a kilobyte at most, is broken in two.
_WIDTH_OF_A_PIPE: Final = 4096
# A table in which a reason has less room than this is hard to read; what is beside it is worth less than its line.
_LEAST_OF_A_REASON: Final = 24
_LEAST_BESIDE_ALL: Final = 40
_INDENTED: Final = (0, 0, 0, 2)
# Up to the end of a line, or of what is shown in one style.
_TRAILING_BLANKS: Final = re.compile(r"(?<! ) +(?=(?:\x1b\[[0-9;]*m)*$)", re.MULTILINE)
_TITLE: Final[Any] = {"title_justify": "left", "title_style": "bold"}


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at the records that could not be processed.

    Each keeps its original bytes, and in its headers where it came from and why it failed. Looking changes
    nothing: no consumer group is joined, no offset moves.

    \b
    Examples:
      paystream dead-letters list
      paystream dead-letters show payment.completed.DLT 2 17
    """


# -- list ------------------------------------------------------------------------------------------


_Age = tuple[int, str, int, int]
"""The record's timestamp, which every letter has, whoever wrote it; then its place, so that letters of the
same time keep their partition's order."""


@dataclass(slots=True)
class Alike:
    """Dead letters of one kind."""

    newest: DeadLetterView
    age: _Age
    count: int = 0


@dataclass(slots=True)
class Listing:
    """The newest letters, and all of them counted by kind, however many there are.

    Arguments:
        limit: letters to keep; all if None.
        reason: keep and count only letters whose reason holds this text, in whatever case.
    """

    limit: int | None
    reason: str | None = None
    count: int = 0
    kinds: dict[Kind, Alike] = field(default_factory=dict)
    _newest: list[tuple[_Age, DeadLetterView]] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Take a dead letter into account."""
        view = view_of(record)
        if self.reason is not None and self.reason.casefold() not in why(view).casefold():
            return
        self.count += 1
        age = (record.timestamp, view.topic, view.partition, view.offset)
        kind = self.kinds.setdefault(kind_of(view), Alike(view, age))
        kind.count += 1
        if age > kind.age:
            kind.newest, kind.age = view, age
        item = (age, view)
        if self.limit is None or len(self._newest) < self.limit:
            heapq.heappush(self._newest, item)
        else:
            heapq.heappushpop(self._newest, item)

    @property
    def newest(self) -> list[DeadLetterView]:
        """The letters kept, the newest last."""
        return [view for _, view in sorted(self._newest, key=lambda item: item[0])]


@dead_letters.command("list")
@click.option(
    "--topic", "topics", multiple=True, metavar="TOPIC",
    help="A dead-letter topic; may be repeated. All of the pipeline's by default.",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N",
    help=f"Only the newest N; {SHOWN} by default, and all with --json.",
)  # fmt: skip
@click.option("--reason", metavar="TEXT", help="Only letters whose reason contains this text.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, the newest last.")
@asynchronous
async def list_(topics: tuple[str, ...], limit: int | None, reason: str | None, as_json: bool) -> None:
    """List the dead letters there are now, the newest last, and count them by reason.

    \b
    Examples:
      paystream dead-letters list
      paystream dead-letters list --reason quantity --limit 10
      paystream dead-letters list --topic payment.completed.DLT --json | jq -r .order_id
    """
    listing = Listing(limit or (None if as_json else SHOWN), reason)
    left_out: PartitionUnserved | None = None
    with silent_clients():
        letters = read_dead_letters(settings().kafka, topics or dead_letter_topics(settings()), _say_passed)
        try:
            async for record in letters:
                listing.add(record)
        except PartitionUnserved as error:
            left_out = error  # said behind what can be read
    if as_json:
        for view in listing.newest:
            click.echo(_json(view))
    elif not listing.count:
        click.echo("no dead letters" + (f" whose reason contains {reason!r}" if reason else ""))
    else:
        print_listing(listing, _console())
    if left_out is not None:
        raise left_out


def _say_passed(place: TopicPartition, damaged: DamagedBatch) -> None:
    click.echo(f"passed over {place.topic}-{place.partition}, {damaged}: {damaged.cause}", err=True)


def print_listing(listing: Listing, console: Console) -> None:
    """Print letters and counts, with as much beside each letter as there is room for.

    What 'show' is to be told, and the order, are never cut or broken in two: they are to be copied.
    """
    tables = [_letters(listing, whole=True), _letters(listing, whole=False)]
    chosen = next((table for table in tables if _fits(table, console)), None)
    summary = _summary(listing)
    _print(
        console,
        [
            *([chosen] if chosen is not None else [*map(_in_two_lines, listing.newest), ""]),
            summary if _fits(summary, console) else _summary_in_lines(listing),
        ],
    )


def _fits(table: Table, console: Console) -> bool:
    """Tell whether all columns have their place, as nothing but the reason is ever broken in two."""
    for column in table.columns:
        if column.no_wrap:
            # To rich, a column that is not to be broken may still be cut.
            column.min_width = max(cell_len(str(cell)) for cell in (column.header, *column.cells))
    least: int = console.measure(table, options=console.options.update(width=_WIDTH_OF_A_PIPE)).minimum
    return least <= console.width


def _letters(listing: Listing, *, whole: bool) -> Table:
    table = Table(Column("topic", no_wrap=True))
    for name in ("part.", "offset"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("order", "failed at (UTC)", *(("stage", "disposition") if whole else ())):
        table.add_column(name, no_wrap=True)
    if whole:
        table.add_column("attempts", justify="right", no_wrap=True)
    least = _LEAST_BESIDE_ALL if whole else _LEAST_OF_A_REASON
    table.add_column("reason", overflow="fold", min_width=least)
    for view in listing.newest:
        further = (
            printable(view.stage or "-"), printable(view.disposition or "-"),
            "-" if view.attempts is None else str(view.attempts),
        )  # fmt: skip
        table.add_row(
            printable(view.topic), str(view.partition), str(view.offset), _order(view), _when(view.failed_at),
            *(further if whole else ()), printable(why(view)),
        )  # fmt: skip
    return table


def _in_two_lines(view: DeadLetterView) -> Group:
    # Written as 'show' takes it. Should it be wider than the screen, the terminal breaks it, and copies it whole.
    place = f"{printable(view.topic)} {view.partition} {view.offset}"
    first = Text(f"{place}  order {_order(view)}  {_when(view.failed_at)}", no_wrap=True, overflow="ignore")
    return Group(first, Padding(Text(printable(why(view)), overflow="fold"), _INDENTED))


def _summary(listing: Listing) -> Table:
    table = Table(title=_title(listing), **_TITLE)
    table.add_column("letters", justify="right", no_wrap=True)
    table.add_column("stage", no_wrap=True)
    table.add_column("reason", overflow="fold", min_width=_LEAST_OF_A_REASON)
    table.add_column("newest order", no_wrap=True)
    for kind in _by_count(listing):
        view = kind.newest
        table.add_row(str(kind.count), printable(view.stage or "-"), printable(why(view)), _order(view))
    return table


def _summary_in_lines(listing: Listing) -> Group:
    lines: list[RenderableType] = [Text(_title(listing), style="bold")]
    for kind in _by_count(listing):
        newest = f"{kind.count}: the newest is of order {_order(kind.newest)}"
        lines.append(Text(newest, no_wrap=True, overflow="ignore"))
        lines.append(Padding(Text(printable(why(kind.newest)), overflow="fold"), _INDENTED))
    return Group(*lines)


def _title(listing: Listing) -> str:
    kept = len(listing.newest)
    whole = f"{listing.count} dead letters" if listing.count != 1 else "1 dead letter"
    return f"{whole} by reason" + ("" if kept == listing.count else f"; above are the newest {kept}")


def _by_count(listing: Listing) -> list[Alike]:
    return sorted(listing.kinds.values(), key=lambda kind: kind.count, reverse=True)


# -- show ------------------------------------------------------------------------------------------


@dead_letters.command()
@click.argument("topic")
@click.argument("partition", type=click.IntRange(min=0))
@click.argument("offset", type=click.IntRange(min=0))
@click.option("--json", "as_json", is_flag=True, help="As one JSON object, without headers and trace.")
@click.option("--payload", is_flag=True, help="With the payload and all that may quote it: personal data.")
@asynchronous
async def show(topic: str, partition: int, offset: int, as_json: bool, payload: bool) -> None:
    """Show everything about one dead letter: where it came from, why it failed, and its headers.

    The payload is personal data and is shown only on request, as are texts that may quote it.

    \b
    Example:
      paystream dead-letters show payment.completed.DLT 2 17 --payload
    """
    with silent_clients():
        record = await read_dead_letter_at(settings().kafka, topic, partition, offset)
    info = read_dead_letter(record.headers)
    # What somebody put into a dead-letter topic without headers is in the list, and so is shown as well.
    if not (is_dead_letter(info) or topic.endswith(settings().failure.dead_letter_suffix)):
        raise PaystreamError(
            f"{topic}-{partition}@{offset} is no dead letter: it has neither {SPRING}… nor x-error-… headers"
        )
    if as_json:
        click.echo(_json(view_of(record), payload_as_json(record.value) if payload else {}, indent=2))
        return
    console = _console()
    _print(console, [_facts(view_of(record)), _headers(record, quoting=payload)])
    if info.stacktrace is not None:
        # Ours quote nothing. Whoever else wrote it may have put the message into it.
        _section("trace", info.stacktrace.rstrip() if payload or info.fingerprint else _withheld(info.stacktrace))
    if payload and record.value is not None:
        _section("payload", payload_as_text(record.value), already_printable=True)
    else:
        _section("payload", _size(record))


def _size(record: Record) -> str:
    if record.value is not None:
        return f"{len(record.value):,} bytes; --payload shows it"
    if any(name == LEFT_OUT for name, _ in record.headers):
        return "none: it was too large for a dead letter; the reason says where it is"
    return "none (a tombstone)"


def _facts(view: DeadLetterView) -> Table:
    origin = "unknown"
    if view.origin_topic is not None:
        origin = f"{view.origin_topic}-{_known(view.origin_partition)}@{_known(view.origin_offset)}"
    attempts = "attempts" if view.attempts != 1 else "attempt"
    facts = {
        "dead letter": f"{view.topic}-{view.partition}@{view.offset}",
        "order": _order(view),
        "from": f"{origin}, written {_when(view.origin_timestamp)}",
        "group": _known(view.consumer_group),
        "reason": why(view),
        "exception": _known(view.exception_class),
        "stage": f"{_known(view.stage)}, {_known(view.disposition)} after {_known(view.attempts)} {attempts}",
        "failed": f"{_when(view.failed_at)}, first {_when(view.first_failed_at)} (UTC)",
        "fingerprint": _known(view.fingerprint),
        "replayed": f"{view.replay_count} times" if view.replay_count != 1 else "once",
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, fact in facts.items():
        table.add_row(name, printable(fact))
    return table


def _headers(record: Record, *, quoting: bool) -> Table:
    table = Table(title=f"\n{len(record.headers)} headers", **_TITLE)
    table.add_column("header", overflow="fold")
    table.add_column("value", overflow="fold")
    for header in header_texts(record.headers):
        table.add_row(printable(header.name), _shown(header, quoting))
    return table


def _shown(header: HeaderText, quoting: bool) -> str:
    if header.is_trace:
        return "see below"
    return _withheld(header.text) if header.may_quote and not quoting else printable(header.text)


# -- what both say ---------------------------------------------------------------------------------


def _known(value: object) -> str:
    return "unknown" if value is None else str(value)


def _order(view: DeadLetterView) -> str:
    return "-" if view.order_id is None else printable(view.order_id)


def _when(moment: datetime | None) -> str:
    return "unknown" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _withheld(text: str) -> str:
    return f"{len(text)} characters that may quote the payload; --payload shows them"


def _section(title: str, text: str, *, already_printable: bool = False) -> None:
    click.secho(f"\n{title}", bold=True)
    click.echo(text if already_printable else printable(text, newlines=True))


def _json(view: DeadLetterView, more: Mapping[str, Any] = MappingProxyType({}), **options: Any) -> str:
    # In ASCII, because JSON leaves some characters as they are that a terminal obeys.
    return json.dumps({**view.model_dump(mode="json"), **more}, ensure_ascii=True, **options)


def _console() -> Console:
    # What was sent is text: neither rich's markup nor its names of emoji.
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_PIPE
    return console


def _print(console: Console, parts: Iterable[RenderableType]) -> None:
    """Print without the blanks with which rich fills its lines: they would be copied along, or break the next one."""
    with console.capture() as captured:
        for part in parts:
            console.print(part, crop=False)
    click.echo(_TRAILING_BLANKS.sub("", captured.get()), file=console.file, nl=False, color=True)
