"""``paystream topics``: create the declared topics, and check them."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from streams.commands.command import asynchronous
from streams.dead_letters.text import printable
from streams.failure.errors import ExitStatus
from streams.kafka.client_log import silent_clients
from streams.kafka.clients import connect
from streams.kafka.internal_topics import check_internal_topics
from streams.kafka.topic_admin import TopicReport, TopicState, apply_topics
from streams.settings import Guarantee, Sink, settings
from streams.topics import declared_topics

_STYLES = {
    TopicState.AS_DECLARED: "green",
    TopicState.CREATED: "bold green",
    TopicState.MISSING: "bold red",
    TopicState.DIFFERS: "yellow",
}


@click.group()
def topics() -> None:
    """Create and check the topics that the pipeline needs.

    What they should look like is set by PAYSTREAM_TOPICS__PARTITIONS, __REPLICATION,
    __MIN_INSYNC_REPLICAS, __RETENTION, __DEAD_LETTER_RETENTION (seconds) and __MAX_MESSAGE_BYTES.
    """


@topics.command()
@click.argument("names", metavar="[TOPIC]...", nargs=-1)
@asynchronous
async def apply(names: tuple[str, ...]) -> None:
    """Create the topics that are missing, and those of your own agents that you name.

    Existing topics are never changed; where one differs from what is declared, the table says so.

    \b
    Examples:
      paystream topics apply
      paystream topics apply loyalty.points
      PAYSTREAM_TOPICS__PARTITIONS=12 PAYSTREAM_TOPICS__REPLICATION=3 paystream topics apply
    """
    _show(await apply_topics(settings().kafka, declared_topics(settings(), names)))
    await _check_internal_topics()


@topics.command()
@asynchronous
async def check() -> None:
    """Change nothing; exit with status 1 if a topic is missing or differs from what is declared.

    Where the brokers cannot keep offsets or transactions, since a setting of theirs asks for more copies than there
    are brokers, that is said with status 78.
    """
    reports = await apply_topics(settings().kafka, declared_topics(settings()), create=False)
    _show(reports)
    await _check_internal_topics()
    if any(report.state is not TopicState.AS_DECLARED for report in reports):
        raise SystemExit(int(ExitStatus.FAILED))


async def _check_internal_topics() -> None:
    chosen = settings()
    in_files = "agents.platform" in chosen.agents and chosen.platform.sink is Sink.FILES
    client = await connect(chosen.kafka)
    try:
        with silent_clients():
            await check_internal_topics(
                client, transactions=in_files or chosen.delivery.guarantee is Guarantee.EXACTLY_ONCE
            )
    finally:
        await client.close()


def _show(reports: list[TopicReport]) -> None:
    table = Table(Column("topic", no_wrap=True), "partitions", "replication", "state")
    for report in reports:
        spec, style = report.spec, _STYLES[report.state]
        table.add_row(Text(spec.name), str(spec.partitions), str(spec.replication), f"[{style}]{report.state.value}[/]")
    Console().print(table)
    for report in reports:
        if report.differences:
            click.echo(printable(f"{report.spec.name} has {', '.join(report.differences)}"))
