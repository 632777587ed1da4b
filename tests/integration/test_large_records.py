"""Records that are larger than their topics seem to allow: brokers look at what is sent, which may be compressed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner
from support.agent import running, unique
from support.databases import make_url_of, opened, upgraded
from support.kafka import create_topic, produce, read_topic
from support.payments import Raw

from streams.commands.dead_letters import dead_letters
from streams.database.in_database import InDatabase
from streams.delivery import Outbox, Record
from streams.delivery.guarantee import Finishing
from streams.failure.errors import InvalidRecord
from streams.sandbox import Cluster
from streams.settings import FailureSettings, Guarantee, TopicSettings
from streams.settings.topics import DEAD_LETTER_ROOM

_ALLOWED = TopicSettings().max_message_bytes
_SIX_MB = b"[" + b'{"sku":"85123A","quantity":6},' * 200_000 + b"0]"
_EVERYTHING_ELSE = Raw(0, b"next", b"{}")


async def _topic(kafka: Cluster, name: str, room: int = 0) -> str:
    return await create_topic(kafka.bootstrap_servers, name, 1, max_message_bytes=str(_ALLOWED + room))


async def _source(kafka: Cluster) -> str:
    topic = await _topic(kafka, unique("large"))
    await _topic(kafka, topic + ".DLT", DEAD_LETTER_ROOM)
    return topic


async def _send(kafka: Cluster, topic: str, value: bytes, compression: str | None = "zstd") -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers, compression_type=compression, max_request_size=2**24,
        max_batch_size=2**24,
    )  # fmt: skip
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, b"large", headers=[("ce_id", b"1")])
    finally:
        await producer.stop()
    await produce(kafka.bootstrap_servers, topic, [_EVERYTHING_ELSE])


def refuse_large(record: Record, out: Outbox) -> None:
    if record.key == b"large":
        raise InvalidRecord("too many lines")


@pytest.mark.parametrize("kind", [*Guarantee, "database"])
async def test_what_fits_compressed_is_a_dead_letter_of_the_very_same_bytes(
    kafka: Cluster, kind: Guarantee | str, tmp_path: Path
) -> None:
    topic = await _source(kafka)
    await _send(kafka, topic, _SIX_MB)
    guarantee = kind if isinstance(kind, Guarantee) else Guarantee.EXACTLY_ONCE
    async with opened(await upgraded(make_url_of("sqlite", tmp_path, None))) as database:
        finish: Finishing | None = InDatabase(database, _Nothing()) if kind == "database" else None
        async with running(kafka.bootstrap_servers, [topic], refuse_large, guarantee=guarantee, finish=finish) as agent:
            await agent.consumed()
    (letter,) = await read_topic(kafka.bootstrap_servers, topic + ".DLT")
    assert (letter.key, letter.value) == (b"large", _SIX_MB)
    assert dict(letter.headers)["ce_id"] == b"1"
    assert dict(letter.headers)["x-error-reason"] == b"too many lines"


async def test_outputs_that_fit_compressed_are_written_among_others_in_order(kafka: Cluster) -> None:
    topic = await _source(kafka)
    out = await _topic(kafka, unique("out"))

    def copy_twice(record: Record, outbox: Outbox) -> None:
        for number in (b"1", b"2"):
            outbox.emit(out, record.value, headers=[("copy", number)])

    await produce(kafka.bootstrap_servers, topic, [Raw(0, b"before", b"{}")])
    await _send(kafka, topic, _SIX_MB)
    async with running(kafka.bootstrap_servers, [topic], copy_twice) as agent:
        await agent.consumed()
    found = [(each.key, each.value, each.headers) for each in await read_topic(kafka.bootstrap_servers, out)]
    assert found == [
        (key, value, (("copy", number),))
        for key, value in ((b"before", b"{}"), (b"large", _SIX_MB), (b"next", b"{}"))
        for number in (b"1", b"2")
    ]
    assert await read_topic(kafka.bootstrap_servers, topic + ".DLT") == []


async def test_what_does_not_fit_at_all_is_a_dead_letter_that_says_where_it_is_and_what_follows_goes_on(
    kafka: Cluster,
) -> None:
    topic = await create_topic(kafka.bootstrap_servers, unique("larger"), 1, max_message_bytes="8000000")
    await _topic(kafka, topic + ".DLT", DEAD_LETTER_ROOM)
    await _send(kafka, topic, os.urandom(3_000_000), compression=None)
    async with running(kafka.bootstrap_servers, [topic], refuse_large) as agent:
        await agent.consumed()
    (letter,) = await read_topic(kafka.bootstrap_servers, topic + ".DLT")
    assert (letter.key, letter.value) == (b"large", None)
    headers = dict(letter.headers)
    assert headers["x-left-out-bytes"] == b"3000000"
    reason = headers["x-error-reason"].decode()
    assert reason.startswith("too many lines; left out, as it is 300")
    assert "more than the 2146304 that fit (see PAYSTREAM_TOPICS__MAX_MESSAGE_BYTES): " in reason
    assert f"the record is {topic}-0@0, for as long as that is kept" in reason
    shown = await asyncio.to_thread(
        CliRunner().invoke, dead_letters, ["show", letter.topic, "0", str(letter.offset), "--payload"],
        env={"PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers},
    )  # fmt: skip
    assert shown.stdout.endswith("none: it was too large for a dead letter; the reason says where it is\n"), shown


async def test_an_output_that_does_not_fit_at_all_makes_a_dead_letter_of_its_record(kafka: Cluster) -> None:
    topic = await _source(kafka)
    out = await _topic(kafka, unique("out"))

    def double(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, (record.value or b"") + os.urandom(2_000_000))

    value = os.urandom(1_000_000)
    await _send(kafka, topic, value, compression=None)
    async with running(kafka.bootstrap_servers, [topic], double) as agent:
        await agent.consumed()
    (letter,) = await read_topic(kafka.bootstrap_servers, topic + ".DLT")
    assert letter.value == value
    reason = dict(letter.headers)["x-error-reason"].decode()
    assert reason.startswith(f"an output for {out} is 3000005 bytes with key and headers, more than the 2080768 that")
    assert "raise PAYSTREAM_TOPICS__MAX_MESSAGE_BYTES" in reason


async def test_the_largest_record_has_room_for_the_longest_texts_of_its_letter(kafka: Cluster) -> None:
    topic = await _source(kafka)
    longest = FailureSettings(max_trace_bytes=32_768, max_message_bytes=4_096, max_retries=0)

    def fail_at_length(record: Record, out: Outbox) -> None:
        if record.key == b"large":
            _deep(200, "x" * 10_000)

    value = os.urandom(_ALLOWED - 100)
    await _send(kafka, topic, value, compression=None)
    async with running(kafka.bootstrap_servers, [topic], fail_at_length, failure=longest) as agent:
        await agent.consumed()
    (letter,) = await read_topic(kafka.bootstrap_servers, topic + ".DLT")
    assert letter.value == value
    assert "x-left-out-bytes" not in dict(letter.headers)


def _deep(levels: int, message: str) -> None:
    if levels:
        _deep(levels - 1, message)
    raise ValueError(message)


class _Nothing:
    async def apply(self, connection: object, effects: object) -> None:
        """Do nothing."""
