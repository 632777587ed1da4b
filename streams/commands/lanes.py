"""``paystream lanes``: how a worker's lanes stand, letting a halted one go on, or past what it cannot read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import aiohttp
import click
from pydantic import BaseModel
from rich.table import Column, Table
from rich.text import Text

from streams.commands.command import asynchronous
from streams.commands.tables import print_table
from streams.dead_letters.text import printable
from streams.delivery.status import State
from streams.failure.errors import PaystreamError
from streams.settings import settings
from streams.web.pages import ResumeAnswer, ResumeRequest, SkipAnswer, SkipRequest, Unreadable

_STYLES: Final = {State.HALTED.value: "bold red", State.PAUSED.value: "yellow", State.RETRYING.value: "yellow"}
_SECONDS = 10.0
_POLL_SECONDS: Final = 0.2
M = TypeVar("M", bound=BaseModel)

_worker = click.option(
    "--worker",
    "url",
    metavar="URL",
    help="the worker's web address, as host:port or as a URL, if not PAYSTREAM_WEB__BIND and __PORT say it",
)


class _Lane(BaseModel):
    """What is shown of a lane."""

    group: str
    topic: str
    partition: int
    state: str
    next_offset: int | None
    lag: int | None
    quiet_seconds: float
    reason: str

    @property
    def source(self) -> str:
        """Name the partition."""
        return f"{self.topic}-{self.partition}"


class _Status(BaseModel):
    """What is shown of a worker."""

    lanes: tuple[_Lane, ...]


@click.group()
def lanes() -> None:
    """See how a worker's lanes stand, and let a halted one go on.

    A lane is what works on one partition. It halts when too many records in a row, or too large a share of
    them, were dead-lettered: then something else than the records is wrong, and somebody has to look. A lane
    that has halted because the brokers refuse an output goes on by itself when they no longer do. Before a batch that
    cannot be read it halts until that can be read again, or is given up.

    \b
        paystream lanes list
        paystream lanes resume payment.completed
        paystream lanes resume payment.completed 3
        paystream lanes skip payment.completed 3
    """


@lanes.command("list")
@_worker
@asynchronous
async def list_lanes(url: str | None) -> None:
    """Show the lanes of a worker, and below them why some of them wait or have halted.

    \b
    Examples:
      paystream lanes list
      paystream lanes list --worker worker-2:6066
    """
    status = await _ask(_Status, "GET", _address(url), "/status/")
    if not status.lanes:
        click.echo(f"the worker at {_address(url)} has no partitions")
        return
    table = Table("group", Column("partition", no_wrap=True), "state", "offset", "lag", "quiet for")
    for lane in status.lanes:
        style = _STYLES.get(lane.state, "green")
        table.add_row(
            Text(printable(lane.group)),
            Text(printable(lane.source)),
            Text(printable(lane.state), style),
            _text(lane.next_offset),
            _text(lane.lag),
            f"{lane.quiet_seconds:.0f} s",
        )
    print_table(table)
    for reason, waiting in _by_reason(status.lanes).items():
        click.echo(printable(f"{_named(waiting)}: {reason}"))


def _by_reason(lanes: Iterable[_Lane]) -> dict[str, list[_Lane]]:
    found: dict[str, list[_Lane]] = {}
    for lane in lanes:
        if lane.reason:
            found.setdefault(lane.reason, []).append(lane)
    return found


def _named(lanes: Iterable[_Lane]) -> str:
    """Name lanes by group and partition, and each group once."""
    groups: dict[str, list[str]] = {}
    for lane in lanes:
        groups.setdefault(lane.group, []).append(lane.source)
    return "; ".join(f"{group} {', '.join(sources)}" for group, sources in groups.items())


@lanes.command()
@click.argument("topic")
@click.argument("partition", type=click.IntRange(min=0), required=False)
@click.option("--group", help="of which agent, if several read the topic")
@_worker
@asynchronous
async def resume(topic: str, partition: int | None, group: str | None, url: str | None) -> None:
    """Let the halted lane of a partition go on, with a new dead-letter budget.

    Without PARTITION, all halted lanes that this worker has of TOPIC.

    \b
    Examples:
      paystream lanes resume payment.completed
      paystream lanes resume payment.completed 3
      paystream lanes resume payment.completed 3 --group paystream.payments --worker worker-2:6066
    """
    address = _address(url)
    resumed = False
    for number in await _halted(address, topic, group) if partition is None else [partition]:
        wanted = ResumeRequest(topic=topic, partition=number, group=group)
        answer = await _ask(ResumeAnswer, "POST", address, "/lanes/resume/", json=wanted.model_dump())
        if answer.resumed:
            resumed = True
            click.echo(f"{topic}-{number} goes on for {', '.join(answer.resumed)}")
    if not resumed:
        what = topic if partition is None else f"{topic}-{partition}"
        raise PaystreamError(
            f"no lane of {what} has halted at {address}: 'paystream lanes list' shows its lanes; "
            "another worker may have the partition"
        )


@lanes.command()
@click.argument("topic")
@click.argument("partition", type=click.IntRange(min=0))
@click.option("--group", help="of which agent, if several read the topic; all of them if not given")
@click.option("--yes", is_flag=True, help="do it: the records are lost to these agents")
@_worker
@asynchronous
async def skip(topic: str, partition: int, group: str | None, yes: bool, url: str | None) -> None:
    """Have a lane pass over the damaged batch before which it has halted, and over nothing else.

    Without --yes, say what would be given up, and change nothing. What is given up is counted, as skipped.lost, and
    stays in the topic for as long as that keeps it. Where another broker has a whole copy, making that one the leader
    loses nothing: the lane goes on by itself.

    \b
    Examples:
      paystream lanes skip payment.completed 3
      paystream lanes skip payment.completed 3 --yes
    """
    address, wanted = _address(url), SkipRequest(topic=topic, partition=partition, group=group)
    found = (await _skip(address, wanted)).unreadable
    if not found:
        raise PaystreamError(
            f"no lane of {topic}-{partition} at {address} has come upon a batch that it cannot read: 'paystream lanes "
            "list' shows its lanes; another worker may have the partition"
        )
    for each in found:
        click.echo(printable(f"{each.group} {topic}-{partition}: {each.what} cannot be read: {each.cause}"))
        if yes:
            await _give_up(address, wanted, each)
    if not yes:
        click.echo("Nothing has been changed. With --yes these records are given up, and the lane goes on behind them.")


async def _give_up(address: str, wanted: SkipRequest, unreadable: Unreadable) -> None:
    """Give exactly that up which has been shown, and wait until its lane is behind it."""
    place = {"first_offset": unreadable.first_offset, "next_offset": unreadable.next_offset}
    answer = await _skip(address, wanted.model_copy(update={"group": unreadable.group, **place}))
    if not any(each.given_up for each in answer.unreadable):
        raise PaystreamError(f"that has changed meanwhile, so nothing is given up for {unreadable.group}: look again")
    give_up = time.monotonic() + _SECONDS
    while time.monotonic() < give_up:
        status = await _ask(_Status, "GET", address, "/status/")
        for lane in status.lanes:
            if (lane.group, lane.topic, lane.partition) != (unreadable.group, wanted.topic, wanted.partition):
                continue
            if lane.next_offset is not None and lane.next_offset >= unreadable.next_offset:
                lost = f"{unreadable.records} record" + ("s are" if unreadable.records != 1 else " is")
                click.echo(f"{lane.group} goes on with {lane.source} at {unreadable.next_offset}: {lost} lost to it")
                return
        await asyncio.sleep(_POLL_SECONDS)
    raise PaystreamError(
        f"{unreadable.group} is to pass over it, and has not yet: 'paystream lanes list' shows how its lane stands"
    )


async def _skip(address: str, wanted: SkipRequest) -> SkipAnswer:
    return await _ask(SkipAnswer, "POST", address, "/lanes/skip/", json=wanted.model_dump())


async def _halted(address: str, topic: str, group: str | None) -> list[int]:
    status = await _ask(_Status, "GET", address, "/status/")
    return sorted(
        {
            lane.partition
            for lane in status.lanes
            if lane.topic == topic and lane.state == State.HALTED.value and group in (None, lane.group)
        }
    )


def _address(url: str | None) -> str:
    web = settings().web
    address = (url or f"{web.host}:{web.port}").rstrip("/")
    return address if "://" in address else f"http://{address}"


async def _ask(model: type[M], method: str, address: str, path: str, **options: Any) -> M:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_SECONDS)) as session,
            session.request(method, address + path, **options) as response,
        ):
            response.raise_for_status()
            return model.model_validate(await response.json())
    except aiohttp.ClientResponseError as error:
        raise PaystreamError(f"{address}{path} answered {error.status}: is that a worker of this version?") from error
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
        raise PaystreamError(
            f"no worker answers at {address} ({type(error).__name__}): name it with --worker URL"
        ) from error


def _text(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"
