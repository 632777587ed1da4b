"""``paystream demo``: see it work in a minute, with nothing to set up."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

import click

from streams.commands.command import asynchronous, extra, shown_on
from streams.failure.errors import InputError

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "online_retail_2010-12-01.csv"


@click.command()
@click.option(
    "--keep/--no-keep", default=None,
    help="Stay up at the end until Ctrl-C, to try other commands. By default: only on a terminal.",
)  # fmt: skip
@click.option(
    "--brokers", type=click.IntRange(1, 9), default=1, show_default=True,
    help="How many Kafka brokers. With 3, topics are replicated as in production.",
)  # fmt: skip
@click.option(
    "--orders", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Other orders, as 'paystream publish' takes them. Without it, a day of a real shop.",
)  # fmt: skip
@asynchronous
async def demo(keep: bool | None, brokers: int, orders: Path | None) -> None:
    """Send a day of a real shop's orders through a real Kafka, and count every one of them.

    Starts Apache Kafka and a worker on this machine, publishes the orders, and shows where each one ended:
    in all four output topics, or as a dead letter with its reason. Stock, letters, revenue and Parquet files
    are compared with the orders, too, article by article and letter by letter. Exits with status 1 if the
    numbers do not add up. Needs neither Docker nor Java; the first run downloads Kafka (45 MB).

    It has settings and data of its own, on 127.0.0.1 only: PAYSTREAM_ variables do not count here, and all
    is removed at the end.

    \b
    Examples:
      paystream demo
      paystream demo --brokers 3 --keep
    """
    # Here, so that other commands need not wait for what only the demo needs.
    with extra("sandbox"):
        from streams.demo.run import Plan, run
        from streams.demo.screen import Screen

    what = "A day of a real shop's orders goes" if orders is None else f"The orders in {orders} go"
    if orders is None and not EXAMPLE.exists():
        raise InputError(EXAMPLE, "the example is part of the source only: name a file with --orders")
    screen = Screen()
    stay = screen.console.is_terminal if keep is None else keep
    await shown_on(screen, run(Plan(orders or EXAMPLE, what, brokers, stay, _program()), screen))


def _program() -> str:
    """Say how the user calls ``paystream``: ``make demo`` runs it from a folder that is not on the path."""
    if shutil.which("paystream"):
        return "paystream"
    return os.path.relpath(Path(sys.executable).with_name("paystream"))
