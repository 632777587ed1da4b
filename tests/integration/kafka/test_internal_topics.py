"""Brokers that cannot keep offsets or transactions, since Kafka's defaults ask for more brokers than there are."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from support.agent import running, unique
from support.kafka import create_topic
from support.secured import START_SECONDS
from support.waiting import eventually

from streams.commands.topics import topics as command
from streams.delivery.outbox import Outbox
from streams.failure.errors import BrokerMisconfigured, ExitStatus, PaystreamError
from streams.kafka.record import Record
from streams.sandbox import Cluster
from streams.settings import Guarantee


@contextlib.contextmanager
def started(**properties: str) -> Iterator[Cluster]:
    cluster = Cluster(properties={name.replace("_", "."): value for name, value in properties.items()})
    asyncio.run(cluster.start(START_SECONDS))
    try:
        yield cluster
    finally:
        asyncio.run(cluster.stop())


@pytest.fixture(scope="module")
def without_transactions() -> Iterator[Cluster]:
    """One broker with Kafka's defaults for transactions."""
    with started(transaction_state_log_replication_factor="3", transaction_state_log_min_isr="2") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def without_offsets() -> Iterator[Cluster]:
    """One broker with Kafka's default for offsets."""
    with started(offsets_topic_replication_factor="3") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def without_acknowledgements() -> Iterator[Cluster]:
    """One broker of which somebody has mended one half: the topic can be made, and not written to."""
    with started(transaction_state_log_min_isr="2") as cluster:
        yield cluster


def do_nothing(record: Record, out: Outbox) -> None:
    """Let the record pass."""


async def failure_of_a_start(cluster: Cluster, guarantee: Guarantee) -> PaystreamError:
    topic = await create_topic(cluster.bootstrap_servers, unique("events"), 1)
    began = time.monotonic()
    async with running(
        cluster.bootstrap_servers, [topic], do_nothing, guarantee=guarantee, dead_letters=False
    ) as agent:
        await eventually(lambda: agent.failures, "the start to fail")
        # Not after a deadline of a minute.
        assert time.monotonic() - began < 15
        return agent.failures[0]


@pytest.mark.parametrize("subcommand", ["check", "apply"])
def test_topics_check_and_apply_name_the_setting_for_transactions(
    without_transactions: Cluster, subcommand: str
) -> None:
    done = CliRunner().invoke(
        command, [subcommand], env={"PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": without_transactions.bootstrap_servers}
    )
    assert done.exit_code == ExitStatus.CONFIGURATION
    for words in (
        "Kafka has 1 broker and is to keep 3 copies of __transaction_state",
        "Set transaction.state.log.replication.factor=1 and transaction.state.log.min.isr=1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR",
    ):
        assert words in done.output


def test_without_transactions_nobody_needs_what_keeps_them(without_transactions: Cluster) -> None:
    done = CliRunner().invoke(
        command,
        ["apply"],
        env={
            "PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": without_transactions.bootstrap_servers,
            "PAYSTREAM_DELIVERY__GUARANTEE": "at_least_once",
            "PAYSTREAM_AGENTS": "agents.payments",
        },
    )
    assert (done.exit_code, "transaction" in done.output) == (0, False)


async def test_a_worker_says_at_its_start_that_there_can_be_no_transactions(without_transactions: Cluster) -> None:
    failure = await failure_of_a_start(without_transactions, Guarantee.EXACTLY_ONCE)
    assert isinstance(failure, BrokerMisconfigured)
    assert failure.exit_status is ExitStatus.CONFIGURATION
    assert "Set transaction.state.log.replication.factor=1 and transaction.state.log.min.isr=1" in str(failure)


async def test_an_agent_without_transactions_starts_where_there_can_be_none(without_transactions: Cluster) -> None:
    topic = await create_topic(without_transactions.bootstrap_servers, unique("events"), 1)
    async with running(
        without_transactions.bootstrap_servers,
        [topic],
        do_nothing,
        guarantee=Guarantee.AT_LEAST_ONCE,
        dead_letters=False,
    ) as agent:
        await eventually(lambda: agent.source.joined or agent.failures, "the group to be joined")
        assert agent.failures == []


async def test_a_worker_says_at_its_start_that_there_can_be_no_offsets(without_offsets: Cluster) -> None:
    failure = await failure_of_a_start(without_offsets, Guarantee.AT_LEAST_ONCE)
    assert isinstance(failure, BrokerMisconfigured)
    assert "3 copies of __consumer_offsets" in str(failure)
    assert "Set offsets.topic.replication.factor=1" in str(failure)


async def test_a_topic_of_transactions_that_cannot_be_written_to_is_named(without_acknowledgements: Cluster) -> None:
    failure = await failure_of_a_start(without_acknowledgements, Guarantee.EXACTLY_ONCE)
    assert isinstance(failure, BrokerMisconfigured)
    assert "__transaction_state, which Kafka needs for transactions, has 1 copy, and 2 have to acknowledge" in str(
        failure
    )
    assert "--entity-name __transaction_state --add-config min.insync.replicas=1" in str(failure)
