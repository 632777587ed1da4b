"""``paystream compare``: what the shop had before, and what it has now, measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.command import asynchronous, extra, shown_on
from streams.commands.demo import EXAMPLE
from streams.failure.errors import InputError, PaystreamError

if TYPE_CHECKING:
    from streams.compare.outcome import Comparison


@click.command()
@click.option(
    "--orders", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Other orders, as 'paystream publish' takes them; the first 150 valid ones count. Without it, a day of "
    "a real shop.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON, and what goes on to standard error.")
@asynchronous
async def compare(orders: Path | None, as_json: bool) -> None:
    """Compare events inside the shop's process with paystream, by measuring both.

    Runs a shop with four listeners in its own process, as with Spring's ApplicationEventPublisher, once with
    synchronous and once with asynchronous listeners; and the same shop with paystream, on a Kafka and a worker
    started for this alone. One listener is slow, then fails for some orders; the process is killed half-way; a
    consumer is added afterwards. Takes less than a minute; the table says what was found.

    Exits with status 1 if paystream lost or doubled anything. It needs a checkout of the source, for the shop's old
    way is one of its examples. Like the demo, it has settings and data of its own, on 127.0.0.1 only.

    \b
    Examples:
      paystream compare
      paystream compare --json
    """
    # Here, so that other commands need not wait for what only this one needs.
    with extra("sandbox"):
        from streams.compare.run import compare_ways
        from streams.compare.table import introduction, render
        from streams.demo.screen import Screen

    if orders is None and not EXAMPLE.exists():
        raise InputError(EXAMPLE, "the example is part of the source only: name a file with --orders")
    screen = Screen(stderr=as_json)

    async def compared() -> Comparison:
        screen.console.print(introduction("A day of a real shop" if orders is None else f"What is in {orders}"))
        comparison = await compare_ways(orders or EXAMPLE, screen)
        if not as_json:
            screen.console.print(render(comparison))
        return comparison

    comparison = await shown_on(screen, compared())
    if as_json:
        click.echo(json.dumps(comparison.as_json(), indent=2))
    if problems := comparison.problems():
        raise PaystreamError(f"paystream did not keep its promise: {'; '.join(problems)}")
