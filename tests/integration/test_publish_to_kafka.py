from __future__ import annotations

import asyncio
import functools
import json
import lzma
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import async_timeout
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from click.testing import CliRunner, Result

from streams.commands.publish import publish
from streams.failure.errors import BrokerDeadlineExceeded, ExitStatus, SetupError
from streams.invoices.event import CANCELLED, COMPLETED
from streams.invoices.files import read_files
from streams.invoices.publishing import Publisher
from streams.kafka.clients import client_options, close_hard, make_producer
from streams.kafka.topic_admin import TopicSpec, TopicState, apply_topics
from streams.sandbox import Cluster
from streams.settings import KafkaSettings

EXAMPLE = Path(__file__).parents[2] / "examples" / "online_retail_2010-12-01.csv"
PARTITIONS = 4
JUDGED = "The agents judge the orders: 'paystream dead-letters list' shows those that they refuse\n"


async def make_topic(kafka: Cluster, **config: str) -> str:
    name = f"publish-{uuid.uuid4()}"
    spec = TopicSpec(name, PARTITIONS, 1, {key.replace("_", "."): value for key, value in config.items()})
    (report,) = await apply_topics(KafkaSettings(bootstrap_servers=kafka.bootstrap_servers), [spec])
    assert report.state is TopicState.CREATED
    return name


@pytest.fixture
def topic(kafka: Cluster) -> str:
    return asyncio.run(make_topic(kafka))


@pytest.fixture
def cancelled_topic(kafka: Cluster) -> str:
    return asyncio.run(make_topic(kafka))


@pytest.fixture
def run(kafka: Cluster, topic: str, cancelled_topic: str) -> Callable[..., Result]:
    def invoke(*arguments: str | Path) -> Result:
        env = {"PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
        topics = ["--topic", topic, "--cancelled-topic", cancelled_topic]
        return CliRunner().invoke(publish, [*topics, *[str(part) for part in arguments]], env=env)

    return invoke


async def stored(kafka: Cluster, topic: str) -> list[ConsumerRecord]:
    """All records of a topic, those of a partition in their order."""
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(
        **client_options(KafkaSettings(bootstrap_servers=kafka.bootstrap_servers)),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        records: list[ConsumerRecord] = []
        async with async_timeout.timeout(20):
            while len(records) < sum(ends.values()):
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    records += batch
        return records
    finally:
        await consumer.stop()


def test_the_example_arrives_whole_with_keys_and_headers_and_in_order(
    kafka: Cluster, topic: str, cancelled_topic: str, run: Callable[..., Result]
) -> None:
    result = run(EXAMPLE)
    assert result.exit_code == ExitStatus.OK, result.stderr
    assert result.stdout.startswith(f"published 137 payments to {topic} and 6 cancellations to {cancelled_topic} in ")
    assert result.stdout.endswith(f"per second); left out: 0 that cannot be read\n{JUDGED}")
    assert result.stderr == ""

    reading = read_files([EXAMPLE])
    payments, cancellations = (asyncio.run(stored(kafka, name)) for name in (topic, cancelled_topic))
    assert (len(payments), len(cancellations)) == (137, 6)
    for records, sent in ((payments, reading.payments), (cancellations, reading.cancellations)):
        assert {record.key: (record.value, tuple(record.headers)) for record in records} == {
            event.key: (event.value, event.headers) for event in sent
        }
        order = [event.key for event in sent]
        for partition in range(PARTITIONS):
            places = [order.index(record.key) for record in records if record.partition == partition]
            assert places == sorted(places)
    assert len({record.partition for record in payments}) == PARTITIONS


def test_cancellations_are_sent_where_they_stand_in_the_file_not_after_it(
    kafka: Cluster, topic: str, cancelled_topic: str, run: Callable[..., Result]
) -> None:
    # Three cancellations are among the first thirty, and all of them well before the thirtieth.
    assert run(EXAMPLE, "--limit", "30", "--rate", "100").exit_code == ExitStatus.OK
    records = [record for name in (topic, cancelled_topic) for record in asyncio.run(stored(kafka, name))]
    assert {record.topic for record in records} == {topic, cancelled_topic}
    sent_at = {record.key: record.timestamp for record in records}
    moments = [sent_at[event.key] for event in read_files([EXAMPLE]).events[:30]]
    assert moments == sorted(moments)
    assert moments[-1] > moments[0]


def test_without_cancellations_there_need_be_no_topic_for_them(run: Callable[..., Result]) -> None:
    result = run(EXAMPLE, "--payments-only", "--cancelled-topic", "no-such-topic")
    assert result.exit_code == ExitStatus.OK, result.stderr
    assert result.stdout.endswith(f"left out: 6 cancellations, 0 that cannot be read\n{JUDGED}")


def test_a_repeat_has_the_same_ids(kafka: Cluster, topic: str, run: Callable[..., Result]) -> None:
    for _ in range(2):
        assert run(EXAMPLE, "--limit", "5").exit_code == ExitStatus.OK
    ids = [dict(record.headers)["ce_id"] for record in asyncio.run(stored(kafka, topic))]
    assert (len(ids), len(set(ids))) == (10, 5)


def test_lines_of_json_arrive_byte_for_byte_from_an_archive(
    kafka: Cluster, topic: str, cancelled_topic: str, run: Callable[..., Result], tmp_path: Path
) -> None:
    line = b'{ "orderId":"1",  "amount": 1.10, "name": "\xe2\x82\xac" }'
    back = b'{ "cancellationId":"can-1",  "orderId":"C1" }'
    archive = tmp_path / "events.jsonl.xz"
    archive.write_bytes(lzma.compress(line + b"\n" + back + b"\n"))
    assert run(archive).exit_code == ExitStatus.OK
    assert [record.value for record in asyncio.run(stored(kafka, topic))] == [line]
    assert [record.value for record in asyncio.run(stored(kafka, cancelled_topic))] == [back]


def test_bad_input_publishes_nothing_of_any_file(
    kafka: Cluster, topic: str, run: Callable[..., Result], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"orderId": "1"}) + "\n{\n")
    assert run(EXAMPLE, bad).exit_code == ExitStatus.BAD_INPUT
    assert asyncio.run(stored(kafka, topic)) == []
    assert run(bad, "--skip-unreadable").exit_code == ExitStatus.OK
    assert [record.key for record in asyncio.run(stored(kafka, topic))] == [b"1"]


@pytest.mark.parametrize("option", ["--topic", "--cancelled-topic"])
def test_a_missing_topic_is_named_with_the_way_out_and_not_created_and_nothing_is_published(
    kafka: Cluster, topic: str, run: Callable[..., Result], option: str
) -> None:
    for _ in range(2):  # asking must not create it either
        result = run(EXAMPLE, option, "no-such-topic")
        assert result.exit_code == ExitStatus.CONFIGURATION
        assert "there is no topic no-such-topic" in result.stderr
        assert "paystream topics apply" in result.stderr
        assert result.stderr.count("\n") == 1
    assert asyncio.run(stored(kafka, topic)) == []


def test_a_rate_is_kept(run: Callable[..., Result]) -> None:
    result = run(EXAMPLE, "--limit", "31", "--rate", "30")
    assert result.exit_code == ExitStatus.OK
    seconds = float(result.stdout.split(" in ")[1].split(" s ")[0])
    assert 1.0 <= seconds < 3.0


async def test_an_event_that_the_topic_is_too_small_for_is_refused_with_a_count(kafka: Cluster) -> None:
    topic = await make_topic(kafka, max_message_bytes="1024")
    producer = make_producer(KafkaSettings(bootstrap_servers=kafka.bootstrap_servers))
    await producer.start()
    try:
        publisher = Publisher(producer, {COMPLETED: topic}, deadline=20)
        with pytest.raises(SetupError, match=r"refused an event for publish-.*: \w+; 0 events are confirmed"):
            await publisher.publish(read_files([EXAMPLE]).events[:1])
    finally:
        await close_hard(producer)


@pytest.mark.parametrize("rate", [None, 5.0])
async def test_a_broker_that_falls_silent_ends_the_publishing_with_a_count(rate: float | None) -> None:
    async with Cluster() as cluster:
        topic = await make_topic(cluster)
        producer = make_producer(KafkaSettings(bootstrap_servers=cluster.bootstrap_servers))
        await producer.start()
        try:
            events, topics = read_files([EXAMPLE]).events, {COMPLETED: topic, CANCELLED: topic}
            # A broker's very first answers may take longer than those to come.
            await Publisher(producer, topics, deadline=30).publish(events[:1])
            publisher = Publisher(producer, topics, deadline=1.0, rate=rate)
            await publisher.publish(events[:3])
            cluster.brokers[0].freeze()
            started = time.monotonic()
            with pytest.raises(BrokerDeadlineExceeded, match="3 events are confirmed, others may be stored"):
                await publisher.publish(events[3:])
            # At five events a second all of them would take half a minute.
            assert time.monotonic() - started < 15
        finally:
            await close_hard(producer)
            cluster.brokers[0].thaw()


def test_ctrl_c_stops_at_once_and_says_how_far_it_came(kafka: Cluster, topic: str, cancelled_topic: str) -> None:
    command = "from streams.commands.publish import publish; publish()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "--topic", topic, "--cancelled-topic", cancelled_topic, "--rate", "2",
         str(EXAMPLE)],
        env={**os.environ, "PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers},
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background of a shell has it ignored, and so would have all children.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 20
        while not asyncio.run(stored(kafka, topic)):
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert re.fullmatch(r"stopped: [0-9]+ of 143 events are confirmed\n", said)
