"""``paystream sandbox``: a real Kafka for trying out, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import click

from streams.commands.command import asynchronous
from streams.settings import PREFIX


@click.command()
@click.option(
    "--brokers", type=click.IntRange(1, 9), default=1, show_default=True,
    help="How many brokers. With 3, one can be lost without losing a record.",
)  # fmt: skip
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=0, show_default=True,
    help="Port of the first broker, the others follow. 0: any that is free.",
)  # fmt: skip
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
    help="Keep what is written here for the next start. Without it, all is removed at the end.",
)  # fmt: skip
@asynchronous
async def sandbox(brokers: int, port: int, data: Path | None) -> None:
    """Run a real Apache Kafka on this machine until Ctrl-C.

    Needs neither Docker nor an installed Java. The first start downloads Kafka (45 MB) into your cache
    folder and verifies it; later ones take about two seconds. It listens on 127.0.0.1 only.

    The first line on standard output is the bootstrap address, alone, for scripts to read. Ctrl-C or SIGTERM
    stops it with status 0. If a broker ends by itself, the command says so and ends with another status.

    \b
    Examples:
      paystream sandbox
      paystream sandbox --port 9092 --data ./paystream-data
      paystream sandbox --brokers 3
    """
    running = asyncio.ensure_future(_run(brokers, port, data))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, running.cancel)
    # We cancel nothing else, so a cancelled task means that somebody asked for the end.
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def _run(brokers: int, port: int, data: Path | None) -> None:
    from streams.sandbox import Cluster  # here, so that the other commands need not wait for it

    async with Cluster(brokers=brokers, port=port, data=data) as cluster:
        click.echo(cluster.bootstrap_servers)
        kept = f"and kept for the next start with --data {data}" if data else "and removed at the end"
        click.echo(
            f"\nKafka is ready. In another terminal:\n"
            f"  export {PREFIX}KAFKA__BOOTSTRAP_SERVERS={cluster.bootstrap_servers}\n"
            f"Data and logs are in {cluster.folder}, {kept}. Ctrl-C stops it.",
            err=True,
        )
        death = await cluster.wait_for_a_death()
    raise death
