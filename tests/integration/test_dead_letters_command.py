from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from click.testing import CliRunner, Result
from support.kafka import admin, create_topic, end_offsets
from support.waiting import eventually

from streams.commands.dead_letters import dead_letters
from streams.dead_letters.writing import Failure, Limits, Origin, dead_letter_headers
from streams.failure.errors import BrokerUnreachable, InvalidRecord, Stage, Undecodable
from streams.failure.policy import Disposition
from streams.kafka import topic_reader
from streams.kafka.topic_reader import read_dead_letters
from streams.sandbox import Cluster
from streams.settings import KafkaSettings

PARTITIONS = 2
SECRET = "Mrs Miller, 3 Elm Road"
Header = tuple[str, bytes]


def headers(error: Exception, stage: Stage, offset: int, at: float) -> list[Header]:
    """What the engine writes for a payment that failed."""
    origin = Origin("payment.completed", 1, offset, 1_291_191_960_000, "CreateTime", "paystream.payments")
    failure = Failure(error, stage, Disposition.PERMANENT, 1, at, at)
    own = [("ce_id", b"pay-%d" % offset), ("traceparent", b"00-ab-cd-01")]
    return dead_letter_headers(own, origin, failure, Limits(1024, 8192))


async def write(
    servers: str, topic: str, steps: Callable[[AIOKafkaProducer], Awaitable[None]], *, commit: bool = True
) -> None:
    """Write in one transaction, as a lane does, commit or abort it, and wait for its markers."""
    producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id=f"{topic}-{uuid.uuid4()}")
    await producer.start()
    try:
        await producer.begin_transaction()
        await steps(producer)
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()

    async def is_over() -> bool:
        return await end_offsets(servers, topic, "read_committed") == await end_offsets(servers, topic)

    # Brokers answer first: what is written next might come before a marker, and have another offset.
    await eventually(is_over, "the markers of a transaction")


async def fill(servers: str, topic: str) -> None:
    """Partition 0: two letters, a marker. Partition 1: an aborted one, a marker, a letter, a marker, Spring's."""
    small = InvalidRecord("lines.0.quantity: Input should be greater than 0")
    broken = Undecodable("not JSON")

    async def two(producer: AIOKafkaProducer) -> None:
        for offset, (error, stage) in enumerate(((small, Stage.VALIDATE), (broken, Stage.DECODE))):
            value = json.dumps({"name": SECRET, "amount": "1.50"}).encode() if offset == 0 else b"\xff{\x1b[2J"
            await producer.send_and_wait(
                topic, value, key=b"o%d" % offset, partition=0, timestamp_ms=1_000 + offset,
                headers=headers(error, stage, offset, 1_700_000_000.0 + offset),
            )  # fmt: skip

    async def lost(producer: AIOKafkaProducer) -> None:
        await producer.send_and_wait(
            topic, b"{}", key=b"never-committed", partition=1, headers=headers(small, Stage.VALIDATE, 7, 0.0)
        )

    async def third(producer: AIOKafkaProducer) -> None:
        await producer.send_and_wait(
            topic, b"{}", key=b"o2", partition=1, timestamp_ms=900,
            headers=headers(small, Stage.VALIDATE, 2, 1_600_000_000.0),
        )  # fmt: skip

    await write(servers, topic, two)
    await write(servers, topic, lost, commit=False)
    await write(servers, topic, third)
    spring = AIOKafkaProducer(bootstrap_servers=servers)
    await spring.start()
    try:
        await spring.send_and_wait(
            topic, None, key=b"o3", partition=1, timestamp_ms=2_000,
            headers=[
                ("kafka_dlt-original-topic", b"payment.completed"),
                ("kafka_dlt-original-partition", (3).to_bytes(4, "big")),
                ("kafka_dlt-original-offset", (44).to_bytes(8, "big")),
                ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.ListenerExecutionFailedException"),
                ("kafka_dlt-exception-cause-fqcn", b"java.lang.IllegalStateException"),
                ("kafka_dlt-exception-message", SECRET.encode()),
                ("kafka_dlt-exception-stacktrace", f"at Shop.pay({SECRET})".encode()),
            ],
        )  # fmt: skip
    finally:
        await spring.stop()


@pytest.fixture(scope="module")
def topic(kafka: Cluster) -> str:
    async def make() -> str:
        name = await create_topic(kafka.bootstrap_servers, f"letters-{uuid.uuid4()}.DLT", PARTITIONS)
        await fill(kafka.bootstrap_servers, name)
        return name

    return asyncio.run(make())


@pytest.fixture
def run(kafka: Cluster) -> Callable[..., Result]:
    def invoke(*arguments: object) -> Result:
        env = {"PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
        return CliRunner().invoke(dead_letters, [str(each) for each in arguments], env=env)

    return invoke


# -- list ------------------------------------------------------------------------------------------


def test_the_list_has_every_committed_letter_the_newest_last_and_a_summary_by_reason(
    topic: str, run: Callable[..., Result]
) -> None:
    done = run("list", "--topic", topic)
    assert (done.exit_code, done.stderr) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    letters = [row[1:] for row in rows if len(row) == 9]
    small = "lines.0.quantity: Input should be greater than 0"
    assert letters == [
        ["1", "2", "o2", "2020-09-13 12:26:40", "validate", "permanent", "1", small],
        ["0", "0", "o0", "2023-11-14 22:13:20", "validate", "permanent", "1", small],
        ["0", "1", "o1", "2023-11-14 22:13:21", "decode", "permanent", "1", "not JSON"],
        ["1", "4", "o3", "unknown", "-", "-", "-", "java.lang.IllegalStateException"],
    ]
    assert "4 dead letters by reason" in done.stdout
    summary = {row[2]: (row[0], row[1], row[3]) for row in rows if len(row) == 4}
    assert summary == {
        small: ("2", "validate", "o0"),
        "not JSON": ("1", "decode", "o1"),
        "java.lang.IllegalStateException": ("1", "-", "o3"),
    }


def test_a_limit_shows_the_newest_and_still_counts_all(topic: str, run: Callable[..., Result]) -> None:
    done = run("list", "--topic", topic, "--limit", 1)
    assert "java.lang.IllegalStateException" in done.stdout
    assert "2023-11-14" not in done.stdout
    assert "4 dead letters by reason; above are the newest 1" in done.stdout


def test_json_is_one_letter_a_line(topic: str, run: Callable[..., Result]) -> None:
    found = [json.loads(line) for line in run("list", "--topic", topic, "--json").stdout.splitlines()]
    assert [(each["partition"], each["offset"]) for each in found] == [(1, 2), (0, 0), (0, 1), (1, 4)]
    assert [each["order_id"] for each in found] == ["o2", "o0", "o1", "o3"]
    assert [each["origin_offset"] for each in found] == [2, 0, 1, 44]
    (only,) = run("list", "--topic", topic, "--json", "--reason", "not json").stdout.splitlines()
    assert json.loads(only)["order_id"] == "o1"


def test_no_letters_is_no_failure(kafka: Cluster, topic: str, run: Callable[..., Result]) -> None:
    empty = asyncio.run(create_topic(kafka.bootstrap_servers, f"empty-{uuid.uuid4()}.DLT"))
    done = run("list", "--topic", empty)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "no dead letters\n", "")
    done = run("list", "--topic", topic, "--reason", "xyz")
    assert (done.exit_code, done.stdout) == (0, "no dead letters whose reason contains 'xyz'\n")
    assert run("list", "--topic", empty, "--json").stdout == ""


def test_several_topics_are_listed_together(kafka: Cluster, topic: str, run: Callable[..., Result]) -> None:
    other = asyncio.run(create_topic(kafka.bootstrap_servers, f"other-{uuid.uuid4()}.DLT"))
    asyncio.run(fill(kafka.bootstrap_servers, other))
    lines = run("list", "--topic", topic, "--topic", other, "--json").stdout.splitlines()
    assert sorted(json.loads(line)["topic"] for line in lines) == sorted([topic] * 4 + [other] * 4)


def test_a_topic_that_does_not_exist_is_named_with_the_one_that_was_meant(
    topic: str, run: Callable[..., Result]
) -> None:
    done = run("list", "--topic", topic.removesuffix(".DLT"))
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert f"there is no topic {topic.removesuffix('.DLT')} at " in line
    assert f"did you mean {topic}?" in line
    (line,) = run("list", "--topic", f"zzz-{uuid.uuid4()}").stderr.splitlines()
    assert "paystream topics apply" in line


def test_looking_joins_no_group_and_creates_no_topic(kafka: Cluster, topic: str, run: Callable[..., Result]) -> None:
    async def groups_and_topics() -> set[object]:
        async with admin(kafka.bootstrap_servers) as client:
            return {*await client.list_consumer_groups(), *await client.list_topics()}

    before = asyncio.run(groups_and_topics())
    run("list", "--topic", topic)
    run("show", topic, 0, 0)
    run("list", "--topic", "missing.DLT")
    # The broker itself may forget a group of another test meanwhile.
    assert asyncio.run(groups_and_topics()) - before == set()


async def test_an_open_transaction_is_neither_shown_nor_waited_for(kafka: Cluster) -> None:
    servers = kafka.bootstrap_servers
    name = await create_topic(servers, f"open-{uuid.uuid4()}.DLT", 1)

    async def one(producer: AIOKafkaProducer) -> None:
        await producer.send_and_wait(name, b"{}", key=b"committed", partition=0)

    await write(servers, name, one)
    producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id=f"{name}-open")
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(name, b"{}", key=b"open", partition=0)
        keys = [record.key async for record in read_dead_letters(KafkaSettings(bootstrap_servers=servers), [name])]
        assert keys == [b"committed"]
    finally:
        await producer.abort_transaction()
        await producer.stop()


async def test_many_letters_are_read_to_the_end_as_it_was_at_the_start(kafka: Cluster) -> None:
    servers, count = kafka.bootstrap_servers, 5_000
    name = await create_topic(servers, f"many-{uuid.uuid4()}.DLT", 3)

    async def many(producer: AIOKafkaProducer) -> None:
        sent = [await producer.send(name, b"x" * 200, partition=number % 3) for number in range(count)]
        await asyncio.gather(*sent)

    await write(servers, name, many)
    seen = 0
    async for _ in read_dead_letters(KafkaSettings(bootstrap_servers=servers), [name]):
        if seen == 0:  # what comes while it reads is not its business
            await write(servers, name, many)
        seen += 1
    assert seen == count
    assert sum((await end_offsets(servers, name)).values()) == 2 * count + 2 * 3


async def test_letters_that_passed_their_retention_are_passed_over(kafka: Cluster) -> None:
    servers = kafka.bootstrap_servers
    name = await create_topic(servers, f"old-{uuid.uuid4()}.DLT", 1)
    await fill_one_partition(servers, name, 10)
    async with admin(servers) as client:
        await client.delete_records({TopicPartition(name, 0): RecordsToDelete(before_offset=4)})
    read = [record.offset async for record in read_dead_letters(KafkaSettings(bootstrap_servers=servers), [name])]
    assert read == [4, 5, 6, 7, 8, 9]


async def fill_one_partition(servers: str, name: str, count: int, value: bytes = b"{}") -> None:
    async def some(producer: AIOKafkaProducer) -> None:
        for _ in range(count):
            await producer.send_and_wait(name, value, partition=0)

    await write(servers, name, some)


# -- show ------------------------------------------------------------------------------------------


def test_show_has_everything_but_the_payload(topic: str, run: Callable[..., Result]) -> None:
    done = run("show", topic, 0, 0)
    assert (done.exit_code, done.stderr) == (0, "")
    for expected in (
        f"{topic}-0@0", "payment.completed-1@0, written 2010-12-01 08:26:00", "paystream.payments",
        "lines.0.quantity: Input should be greater than 0", "streams.failure.errors.InvalidRecord",
        "validate, permanent after 1 attempt", "2023-11-14 22:13:20", "traceparent", "00-ab-cd-01",
        "1291191960000 (2010-12-01 08:26:00 UTC)", "--payload shows it",
    ):  # fmt: skip
        assert expected in done.stdout
    assert "Miller" not in done.stdout


def test_the_payload_is_shown_on_request_indented_if_it_is_json(topic: str, run: Callable[..., Result]) -> None:
    done = run("show", topic, 0, 0, "--payload")
    assert done.stdout.endswith(f'payload\n{{\n  "name": "{SECRET}",\n  "amount": "1.50"\n}}\n')


def test_a_payload_that_is_no_text_is_escaped_and_cannot_touch_the_terminal(
    topic: str, run: Callable[..., Result]
) -> None:
    done = run("show", topic, 0, 1, "--payload")
    assert done.stdout.endswith("payload\n\\xff{\\x1b[2J\n")
    assert "\x1b" not in done.stdout


def test_what_another_program_wrote_may_quote_the_payload_and_is_shown_with_it_only(
    topic: str, run: Callable[..., Result]
) -> None:
    done = run("show", topic, 1, 4)
    assert "Miller" not in done.stdout
    assert "java.lang.IllegalStateException" in done.stdout
    assert "payment.completed-3@44" in done.stdout
    done = run("show", topic, 1, 4, "--payload")
    assert f"at Shop.pay({SECRET})" in done.stdout
    assert done.stdout.endswith("none (a tombstone)\n")


def test_show_as_json_is_the_same_as_in_the_list_and_has_the_payload_on_request(
    topic: str, run: Callable[..., Result]
) -> None:
    listed = [json.loads(line) for line in run("list", "--topic", topic, "--json").stdout.splitlines()]
    shown = json.loads(run("show", topic, 0, 0, "--json").stdout)
    assert shown in listed
    assert json.loads(run("show", topic, 0, 0, "--json", "--payload").stdout) == {
        **shown,
        "payload": json.dumps({"name": SECRET, "amount": "1.50"}),
    }
    assert json.loads(run("show", topic, 0, 1, "--json", "--payload").stdout)["payload_base64"] == "/3sbWzJK"


def test_no_line_that_is_shown_ends_with_blanks(topic: str, run: Callable[..., Result]) -> None:
    for arguments in (("list", "--topic", topic), ("show", topic, 0, 0), ("show", topic, 1, 4, "--payload")):
        assert not re.search(r" $", run(*arguments).stdout, re.MULTILINE)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_record_that_is_no_dead_letter_is_not_shown_as_one(
    kafka: Cluster, run: Callable[..., Result], options: list[str]
) -> None:
    name = asyncio.run(create_topic(kafka.bootstrap_servers, f"orders-{uuid.uuid4()}", 1))
    asyncio.run(fill_one_partition(kafka.bootstrap_servers, name, 1))
    done = run("show", name, 0, 0, *options)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"paystream: {name}-0@0 is no dead letter: it has neither kafka_dlt-… nor x-error-… headers\n"
    )


def test_what_somebody_put_among_the_dead_letters_without_any_header_is_shown(
    kafka: Cluster, run: Callable[..., Result]
) -> None:
    name = asyncio.run(create_topic(kafka.bootstrap_servers, f"bare-{uuid.uuid4()}.DLT", 1))
    asyncio.run(fill_one_partition(kafka.bootstrap_servers, name, 1))
    done = run("show", name, 0, 0, "--payload")
    assert done.exit_code == 0
    assert f"{name}-0@0" in done.stdout
    assert done.stdout.endswith("payload\n{}\n")


@pytest.mark.parametrize(
    ("partition", "offset", "why"),
    [
        (0, 2, "a transaction's marker"),
        (1, 0, "never committed"),  # of the aborted transaction
        (0, 99, "what is kept lies from 0 to 2"),
        (9, 0, "has no partition 9: it has 0 to 1"),
    ],
)
def test_a_letter_that_is_not_there_is_an_error_that_says_why(
    topic: str, run: Callable[..., Result], partition: int, offset: int, why: str
) -> None:
    done = run("show", topic, partition, offset)
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert why in line


def test_an_empty_partition_and_a_missing_topic_are_errors_too(
    kafka: Cluster, topic: str, run: Callable[..., Result]
) -> None:
    empty = asyncio.run(create_topic(kafka.bootstrap_servers, f"empty-{uuid.uuid4()}.DLT"))
    done = run("show", empty, 0, 0)
    assert done.exit_code == 1
    assert "it is empty" in done.stderr
    done = run("show", f"{topic}x", 0, 0)
    assert done.exit_code == 1
    assert "there is no topic" in done.stderr


async def test_brokers_that_die_while_letters_are_read_end_the_reading_with_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Cluster() as cluster:
        kafka = KafkaSettings(bootstrap_servers=cluster.bootstrap_servers)
        name = await create_topic(cluster.bootstrap_servers, "letters.DLT", 1)
        # Many times what one fetch brings.
        await fill_one_partition(cluster.bootstrap_servers, name, 12, b"x" * 900_000)
        reading = read_dead_letters(kafka, [name])
        assert (await reading.__anext__()).offset == 0
        cluster.brokers[0].kill()
        monkeypatch.setattr(topic_reader, "_STALL_SECONDS", 2.0)
        with pytest.raises(BrokerUnreachable, match=r"have not delivered anything of letters\.DLT-0"):
            async for _ in reading:
                pass
