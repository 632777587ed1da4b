"""``paystream publish``: send the payment events in files to Kafka."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streams.commands.command import asynchronous
from streams.dead_letters.text import payload_as_text, printable
from streams.failure.errors import BrokerUnreachable, InputError, TopicMissing
from streams.invoices.event import CANCELLED, COMPLETED, EventKind, ShopEvent
from streams.invoices.files import read_files
from streams.invoices.publishing import Publisher
from streams.kafka.client_log import silent_clients
from streams.kafka.clients import close_hard, connect, make_producer
from streams.settings import KafkaSettings, settings
from streams.topics import PAYMENT_CANCELLED, PAYMENT_COMPLETED

SHOWN_IN_A_DRY_RUN: Final = 3
# Often enough to see that it goes on, seldom enough for a log file.
_REPORT_SECONDS: Final = 5.0


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--topic", default=PAYMENT_COMPLETED, show_default=True, help="Where payments go.")
@click.option("--cancelled-topic", default=PAYMENT_CANCELLED, show_default=True, help="Where cancellations go.")
@click.option("--payments-only", is_flag=True, help="Leave cancellations out.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), metavar="N",
    help="At most N events per second. As fast as possible by default.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N events.")
@click.option("--dry-run", is_flag=True, help="Show the first events and the counts; needs no broker.")
# The second is its former name.
@click.option(
    "--skip-unreadable", "--skip-invalid", is_flag=True, help="Leave out what cannot be read instead of stopping at it."
)
@asynchronous
async def publish(
    files: tuple[Path, ...],
    topic: str,
    cancelled_topic: str,
    payments_only: bool,
    rate: float | None,
    limit: int | None,
    dry_run: bool,
    skip_unreadable: bool,
) -> None:
    """Publish the payments and cancellations in FILES, which are read and checked whole before.

    A CSV file (.csv, .csv.xz) holds a shop's invoices in the columns of the Online Retail data set; each
    becomes one event: a payment or, if its number begins with C, a cancellation. Write-offs and other dirt
    are published as they are: judging them is the pipeline's work.

    A file of JSON lines (.jsonl, .jsonl.xz) holds one event a line, which is published as it stands; those
    with a cancellationId are cancellations.

    Whatever cannot be read stops the command, naming file, line and column, before anything is published;
    standard input is not read.
    Publishing a file twice is harmless to consumers that look at ce_id: a repeat has the same.

    \b
    Examples:
      paystream publish examples/online_retail_2010-12-01.csv --dry-run
      paystream publish examples/online_retail_2010-12-01.csv --rate 50
    """
    reading = read_files(files, skip_unreadable=skip_unreadable)
    for problem in reading.left_out:
        click.echo(f"left out: {printable(str(problem))}", err=True)
    if not reading.events:
        # Whoever publishes nothing has meant another file, even if all is to be left out that is wrong.
        raise InputError(", ".join(map(str, files)), "there is nothing left to publish")
    events = (reading.payments if payments_only else reading.events)[:limit]
    counts = Counter(event.kind for event in events)
    topics = {COMPLETED: topic, CANCELLED: cancelled_topic}
    what = " and ".join(
        f"{counts[kind]} {named} to {topics[kind]}"
        for kind, named in ((COMPLETED, "payments"), (CANCELLED, "cancellations"))
        if counts[kind] or kind is COMPLETED
    )
    left_out = f"left out: {len(reading.left_out)} that cannot be read"
    if payments_only:
        left_out = f"left out: {len(reading.cancellations)} cancellations, {len(reading.left_out)} that cannot be read"
    if dry_run:
        _show(events)
        click.echo(f"would publish {what}; {left_out}")
        return
    started = time.monotonic()
    await _publish(settings().kafka, {kind: topics[kind] for kind in counts} or {COMPLETED: topic}, events, rate)
    seconds = time.monotonic() - started
    click.echo(f"published {what} in {seconds:.1f} s ({len(events) / seconds:,.0f} per second); {left_out}")
    click.echo("The agents judge the orders: 'paystream dead-letters list' shows those that they refuse")


async def _publish(
    kafka: KafkaSettings, topics: Mapping[EventKind, str], events: list[ShopEvent], rate: float | None
) -> None:
    with silent_clients(), _progress(len(events)) as on_confirmed:
        await _check_topics(kafka, topics.values())
        producer = make_producer(kafka)
        publisher = Publisher(producer, topics, deadline=kafka.deadline, rate=rate, on_confirmed=on_confirmed)
        try:
            await producer.start()
            await publisher.publish(events)
        except BaseException as error:
            # Flushing would wait for the brokers that have just failed us, or for the one at the keyboard.
            await close_hard(producer)
            if isinstance(error, KafkaError):
                reason = f"the brokers at {kafka.bootstrap_servers} have gone: {error}"
                raise BrokerUnreachable(reason) from None
            if isinstance(error, asyncio.CancelledError):
                click.echo(f"stopped: {publisher.confirmed} of {len(events)} events are confirmed", err=True)
            raise
        await producer.stop()


async def _check_topics(kafka: KafkaSettings, topics: Iterable[str]) -> None:
    client = await connect(kafka)
    try:
        metadata = await client.fetch_all_metadata()
    finally:
        await client.close()
    for topic in topics:
        if not metadata.partitions_for_topic(topic):
            raise TopicMissing(
                f"there is no topic {topic} at {kafka.bootstrap_servers}: create it with 'paystream topics apply'"
            )


def _show(events: list[ShopEvent]) -> None:
    for event in events[:SHOWN_IN_A_DRY_RUN]:
        click.echo(payload_as_text(event.value))


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show on standard error how far it is: a bar on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _reporter(total)
        return
    columns = (
        TextColumn("publishing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("publishing", total=total)

        def moved(confirmed: int) -> None:
            progress.update(task, completed=confirmed)

        yield moved


def _reporter(total: int) -> Callable[[int], None]:
    due = time.monotonic() + _REPORT_SECONDS

    def report(confirmed: int) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + _REPORT_SECONDS
            click.echo(f"{confirmed} of {total} events published", err=True)

    return report
