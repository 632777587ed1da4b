"""Whatever bytes are in a topic, each record ends processed or, unchanged, in the dead-letter topic."""

from __future__ import annotations

import dataclasses

import pytest
from aiokafka import ConsumerRecord
from support.agent import kafka_settings, running, unique
from support.kafka import create_topic, end_offsets, produce, read_topic
from support.payments import Raw, order
from support.strange import produce_forged

from agents.payments import on_payment
from streams.dead_letters.reading import read_dead_letter
from streams.kafka.topic_admin import apply_topics
from streams.sandbox import Cluster
from streams.settings import Settings
from streams.topics import PLATFORM_ORDERS, declared_topics

_ROOMY = {"max_message_bytes": "2097152"}
_NAME = "N" * 900


async def _payments_agent(kafka: Cluster, *records: Raw) -> tuple[list[ConsumerRecord], list[ConsumerRecord]]:
    """Let the payments agent work on raw records; return its platform orders and its dead letters."""
    servers = kafka.bootstrap_servers
    await apply_topics(kafka_settings(servers), declared_topics(Settings()))
    topic = await create_topic(servers, unique("strange"), 2, **_ROOMY)
    letters = await create_topic(servers, topic + ".DLT", 2, **_ROOMY)
    await produce(servers, topic, records)
    return await _work_through(servers, topic, letters)


async def _work_through(servers: str, topic: str, letters: str) -> tuple[list[ConsumerRecord], list[ConsumerRecord]]:
    before = await end_offsets(servers, PLATFORM_ORDERS)
    async with running(servers, [topic], on_payment) as agent:
        await agent.consumed()
    done = [each for each in await read_topic(servers, PLATFORM_ORDERS) if each.offset >= before[each.partition]]
    return done, await read_topic(servers, letters)


def _is_the_original(letter: ConsumerRecord, raw: Raw) -> bool:
    return (letter.key, letter.value, letter.partition) == (raw.key, raw.value, raw.partition)


@pytest.mark.parametrize(
    ("value", "key", "stage"),
    [
        pytest.param(order(1)[:-4] + b'\xff"}]}', b"o1", b"decode", id="invalid UTF-8"),
        pytest.param(b"\xc3\x28", b"\xff\xfe", b"decode", id="nothing but invalid UTF-8, in the key too"),
        pytest.param(order(1)[:-1], b"o1", b"decode", id="invalid JSON"),
        pytest.param(b"", b"o1", b"decode", id="empty"),
        pytest.param(b"", b"", b"decode", id="empty, and so is its key"),
        pytest.param(None, None, b"decode", id="neither value nor key"),
        pytest.param(order(1).decode().encode("utf-16"), b"o1", b"decode", id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf{}", b"o1", b"validate", id="invalid behind a byte order mark"),
        pytest.param(order(1, name="\\ud83d"), b"o1", b"decode", id="half of a character"),
        pytest.param(b"\x00" * 16, None, b"decode", id="zero bytes"),
        pytest.param(b"null", b"o1", b"validate", id="JSON that is no object"),
        pytest.param(order(1).replace(b'"GBP"', b'"XXX"'), None, b"validate", id="invalid, without a key"),
        pytest.param(b"[" * 100_000, b"o1", b"decode", id="nested deeper than any parser goes"),
        pytest.param(order(1, lines=1_000, name=_NAME).replace(b'"GBP"', b'"XXX"'), b"o1", b"validate", id="900 KB"),
    ],
)
async def test_what_cannot_be_a_payment_is_dead_lettered_unchanged(
    kafka: Cluster, value: bytes | None, key: bytes | None, stage: bytes
) -> None:
    raw = Raw(1, key, value)
    good = Raw(1, b"good", order(2))
    done, letters = await _payments_agent(kafka, raw, good)
    (letter,) = letters
    assert _is_the_original(letter, raw)
    assert dict(letter.headers)["x-error-stage"] == stage
    assert dict(letter.headers)["x-disposition"] == b"permanent"
    assert [each.key for each in done] == [b"o2"], "what follows it goes on"


async def test_a_dead_letter_says_where_it_comes_from(kafka: Cluster) -> None:
    _, letters = await _payments_agent(kafka, Raw(1, b"o1", order(1)), Raw(1, b"bad", b"{"))
    (letter,) = letters
    origin = read_dead_letter(letter.headers).origin
    assert origin is not None
    assert (origin.topic, origin.partition, origin.offset) == (letter.topic.removesuffix(".DLT"), 1, 1)


async def test_a_payment_of_900_kb_is_processed(kafka: Cluster) -> None:
    value = order(1, lines=1_000, name=_NAME)
    assert 900_000 < len(value) < 1_000_000
    done, letters = await _payments_agent(kafka, Raw(0, b"o1", value))
    assert letters == []
    assert [each.key for each in done] == [b"o1"]
    assert len(done[0].value) > 900_000


async def test_a_good_payment_without_a_key_is_processed_under_its_order_id(kafka: Cluster) -> None:
    done, letters = await _payments_agent(kafka, Raw(1, None, order(1)))
    assert letters == []
    assert [each.key for each in done] == [b"o1"]


async def test_a_payment_behind_a_byte_order_mark_is_processed(kafka: Cluster) -> None:
    done, letters = await _payments_agent(kafka, Raw(1, b"o1", b"\xef\xbb\xbf" + order(1)))
    assert letters == []
    assert [each.key for each in done] == [b"o1"]


async def test_any_number_of_delete_markers_in_a_row_stops_no_lane(kafka: Cluster) -> None:
    markers = [Raw(1, b"o%d" % number, None) for number in range(150)]
    done, letters = await _payments_agent(kafka, *markers, Raw(1, b"o1", order(1)))
    assert letters == []
    assert [each.key for each in done] == [b"o1"], "what is behind them was reached"


async def test_strange_headers_do_not_stop_a_good_payment(kafka: Cluster) -> None:
    headers = (
        ("ce_id", b"first"), ("ce_id", b"last"), ("ce_source", b"\xff\xfe"), ("traceparent", b"\xff"),
        ("", b"a header without a name"), ("ce_time", b"yesterday"), ("__TypeId__", b"com.example.Payment"),
    )  # fmt: skip
    done, letters = await _payments_agent(kafka, Raw(0, b"o1", order(1), headers))
    assert letters == []
    (platform,) = done
    assert dict(platform.headers)["ce_id"] == b"last:order-platform"
    assert dict(platform.headers)["ce_time"] == b"2010-12-01T08:26:00+00:00", "the event's own"
    assert "traceparent" not in dict(platform.headers)


async def test_strange_headers_are_kept_on_a_dead_letter_duplicates_and_all(kafka: Cluster) -> None:
    headers = (("ce_id", b"first"), ("ce_id", b"\xff\xfe"), ("", b""), ("x", b"\x00"), ("ce_id", b"last"))
    _, (letter,) = await _payments_agent(kafka, Raw(0, b"o1", b"{", headers))
    assert tuple(letter.headers[: len(headers)]) == headers


async def test_a_null_header_value_does_no_harm(kafka: Cluster) -> None:
    null: tuple[tuple[str, bytes], ...] = (("ce_id", None), ("traceparent", None))  # type: ignore[assignment]
    done, (letter,) = await _payments_agent(kafka, Raw(0, b"o1", order(1), null), Raw(0, b"o2", b"{", null))
    assert dict(done[0].headers)["ce_id"] == b"p1:order-platform"
    assert letter.headers[0][1] is None


# -- header names that are not UTF-8 --------------------------------------------------------------------


async def _forged(kafka: Cluster, strange: Raw) -> tuple[list[ConsumerRecord], list[ConsumerRecord]]:
    """Let the agent work on five records, the third with a header whose name no builder in Python would write.

    Its neighbours are in the same batch, so that neither skipping it nor seeking past it would do.
    """
    servers = kafka.bootstrap_servers
    await apply_topics(kafka_settings(servers), declared_topics(Settings()))
    topic = await create_topic(servers, unique("forged"), 1)
    letters = await create_topic(servers, topic + ".DLT", 1)
    before, neighbour, behind, after = (Raw(0, b"o%d" % each, order(each)) for each in (0, 1, 3, 4))
    await produce(servers, topic, [before])
    marked = dataclasses.replace(strange, headers=(("placeholder", b"v"),))
    await produce_forged(servers, topic, [neighbour, marked, behind], "placeholder", b"place\xff\xfelder")
    await produce(servers, topic, [after])
    return await _work_through(servers, topic, letters)


async def test_a_header_name_that_is_not_utf_8_stops_no_good_payment(kafka: Cluster) -> None:
    done, letters = await _forged(kafka, Raw(0, b"o2", order(2)))
    assert sorted(each.key for each in done) == [b"o0", b"o1", b"o2", b"o3", b"o4"]
    assert letters == []


async def test_a_header_name_that_is_not_utf_8_is_escaped_on_a_dead_letter(kafka: Cluster) -> None:
    bad = Raw(0, b"o2", b"{\xff")
    done, (letter,) = await _forged(kafka, bad)
    assert sorted(each.key for each in done) == [b"o0", b"o1", b"o3", b"o4"]
    assert _is_the_original(letter, bad)
    assert letter.headers[0] == ("place\\xff\\xfelder", b"v")
