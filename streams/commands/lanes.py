"""``paystream lanes``: how a worker's lanes stand, and letting a halted one go on."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import aiohttp
import click
from pydantic import BaseModel
from rich.console import Console
from rich.table import Column, Table

from streams.commands.command import asynchronous
from streams.commands.tables import print_table
from streams.failure.errors import PaystreamError
from streams.settings import settings
from streams.web.pages import ResumeAnswer, ResumeRequest

_STYLES = {"halted": "bold red", "paused": "yellow", "retrying": "yellow"}
_SECONDS = 10.0
M = TypeVar("M", bound=BaseModel)

_worker = click.option(
    "--worker", "url", metavar="URL", help="the worker's web address, if not PAYSTREAM_WEB__BIND and __PORT say it"
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


class _Status(BaseModel):
    """What is shown of a worker."""

    lanes: tuple[_Lane, ...]


@click.group()
def lanes() -> None:
    """See how a worker's lanes stand, and let a halted one go on.

    A lane is what works on one partition. It halts when too many records in a row, or too large a share of
    them, were dead-lettered: then something else than the records is wrong, and somebody has to look. A lane
    that has halted because the brokers refuse an output goes on by itself when they no longer do.

    \b
        paystream lanes list
        paystream lanes resume payment.completed 3
    """


@lanes.command("list")
@_worker
@asynchronous
async def list_lanes(url: str | None) -> None:
    """Show the lanes of a worker."""
    status = await _ask(_Status, "GET", _address(url), "/status/")
    table = Table("group", Column("partition", no_wrap=True), "state", "offset", "lag", "quiet for")
    for lane in status.lanes:
        style = _STYLES.get(lane.state, "green")
        table.add_row(
            lane.group,
            f"{lane.topic}-{lane.partition}",
            f"[{style}]{lane.state}[/]",
            _text(lane.next_offset),
            _text(lane.lag),
            f"{lane.quiet_seconds:.0f} s",
        )
    print_table(table)
    console = Console()
    for reason in sorted({lane.reason for lane in status.lanes if lane.reason}):
        console.print(reason, soft_wrap=True, highlight=False, markup=False)


@lanes.command()
@click.argument("topic")
@click.argument("partition", type=click.IntRange(min=0))
@click.option("--group", help="of which agent, if several read the topic")
@_worker
@asynchronous
async def resume(topic: str, partition: int, group: str | None, url: str | None) -> None:
    """Let the halted lane of a partition go on, with a new dead-letter budget."""
    wanted = ResumeRequest(topic=topic, partition=partition, group=group)
    answer = await _ask(ResumeAnswer, "POST", _address(url), "/lanes/resume/", json=wanted.model_dump())
    if not answer.resumed:
        raise PaystreamError(
            f"no lane of {topic}-{partition} has halted at {_address(url)}: 'paystream lanes list' shows its lanes; "
            "another worker may have the partition"
        )
    click.echo(f"{topic}-{partition} goes on for {', '.join(answer.resumed)}")


def _address(url: str | None) -> str:
    web = settings().web
    return (url or f"http://{web.bind}:{web.port}").rstrip("/")


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
