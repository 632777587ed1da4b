"""Handlers that fail for a while, for ever, or for want of something: what becomes of their records and others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord
from support.kafka import admin, committed, produce, read_topic, wait_until_consumed
from support.payments import DEAD_LETTERS, Raw, order
from support.waiting import eventually
from support.worker import Crew, Worker

from streams.topics import PAYMENT_COMPLETED, PLATFORM_ORDERS

_AT_ONCE = {"FAILURE__BACKOFF": "fixed", "FAILURE__INITIAL_INTERVAL": "0.05"}
_NOT_WITHIN_THIS_TEST = {"FAILURE__BACKOFF": "fixed", "FAILURE__INITIAL_INTERVAL": "300"}
_LONG_AGO = 20.0


def _payments(count: int) -> list[Raw]:
    """Good payments o0, o1, …, of which o4, o8, … are in partition 0 too."""
    return [Raw(number % 4, b"o%d" % number, order(number)) for number in range(count)]


def _moody(crew: Crew, monkeypatch: pytest.MonkeyPatch, failures: str = "", **settings: str) -> Worker:
    monkeypatch.setenv("MOODY_FAILURES", failures)
    return crew.hire("moody", agents=["moody"], **settings)


def _keys(records: list[ConsumerRecord], partition: int) -> list[bytes]:
    return [each.key for each in records if each.partition == partition]


async def test_a_record_that_fails_for_a_while_is_retried_until_it_succeeds_in_its_place(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = _payments(400)
    await produce(crew.servers, PAYMENT_COMPLETED, sent)
    worker = _moody(crew, monkeypatch, "o40:3,o44:1", **_AT_ONCE).start()
    await wait_until_consumed(crew.servers, crew.group("moody"), PAYMENT_COMPLETED)
    done = await read_topic(crew.servers, PLATFORM_ORDERS)
    for partition in range(4):
        assert _keys(done, partition) == [each.key for each in sent if each.partition == partition]
    assert await read_topic(crew.servers, DEAD_LETTERS) == []
    await eventually(lambda: worker.statistics()["metric_counts"].get("moody.retries") == 4, "four retries counted")


async def test_a_record_that_fails_for_ever_is_dead_lettered_with_its_attempts(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = _payments(40)
    await produce(crew.servers, PAYMENT_COMPLETED, sent)
    _moody(crew, monkeypatch, "o8:99", **_AT_ONCE, FAILURE__MAX_RETRIES="3").start()
    await wait_until_consumed(crew.servers, crew.group("moody"), PAYMENT_COMPLETED)
    (letter,) = await read_topic(crew.servers, DEAD_LETTERS)
    assert (letter.key, letter.value, letter.partition) == (b"o8", order(8), 0)
    headers = dict(letter.headers)
    assert headers["x-attempts"] == b"4"
    assert headers["x-disposition"] == b"exhausted"
    assert headers["x-error-stage"] == b"handle"
    assert headers["x-error-reason"] == b"a bad moment"
    assert headers["x-first-failed-at"] < headers["x-failed-at"]
    assert headers["kafka_dlt-exception-fqcn"] == b"streams.failure.errors.TransientError"
    done = await read_topic(crew.servers, PLATFORM_ORDERS)
    assert sorted(each.key for each in done) == sorted(each.key or b"" for each in sent if each.key != b"o8")


async def test_a_handler_that_hangs_is_cut_off_and_its_record_dead_lettered(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    await produce(crew.servers, PAYMENT_COMPLETED, _payments(40))
    limits = {"FAILURE__HANDLER_TIMEOUT": "0.2", "FAILURE__MAX_RETRIES": "1"}
    _moody(crew, monkeypatch, "o8:hang", **_AT_ONCE, **limits).start()
    await wait_until_consumed(crew.servers, crew.group("moody"), PAYMENT_COMPLETED)
    (letter,) = await read_topic(crew.servers, DEAD_LETTERS)
    assert letter.key == b"o8"
    assert dict(letter.headers)["x-attempts"] == b"2"
    assert dict(letter.headers)["x-error-reason"] == b"the handler took longer than 0.2 s"


@pytest.mark.parametrize("concurrency", ["1", "4"])
async def test_a_partition_that_backs_off_holds_up_neither_the_others_nor_its_own_past(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, concurrency: str
) -> None:
    sent = _payments(4_000)
    await produce(crew.servers, PAYMENT_COMPLETED, sent)
    settings = {
        **_NOT_WITHIN_THIS_TEST, "DELIVERY__CONCURRENCY": concurrency, "FAILURE__MAX_ELAPSED": "900",
        "DELIVERY__STOP_TIMEOUT": "60",
    }  # fmt: skip
    worker = _moody(crew, monkeypatch, "o1600:1", **settings).start()

    # o1600 is record 400 of partition 0, in the middle of the first batch of 1,000.
    expected = {0: 400, 1: 1_000, 2: 1_000, 3: 1_000}
    async with admin(crew.servers) as client:

        async def as_expected() -> bool:
            return await committed(client, crew.group("moody"), PAYMENT_COMPLETED) == expected

        await eventually(as_expected, "everything but the failing record and those behind it")
        done = await read_topic(crew.servers, PLATFORM_ORDERS)
        assert {each: len(_keys(done, each)) for each in range(4)} == expected

        # Later records go on past it, too, and it does not keep the worker from stopping.
        later = [Raw(each.partition, b"later-" + (each.key or b""), each.value) for each in _payments(400)]
        await produce(crew.servers, PAYMENT_COMPLETED, later)
        expected.update({1: 1_100, 2: 1_100, 3: 1_100})
        await eventually(as_expected, "the later records of the other partitions")
        assert await worker.terminate(_LONG_AGO) == 0
        assert await committed(client, crew.group("moody"), PAYMENT_COMPLETED) == expected

    # Its successor tries again at once.
    monkeypatch.setenv("MOODY_FAILURES", "")
    worker.start()
    await wait_until_consumed(crew.servers, crew.group("moody"), PAYMENT_COMPLETED)
    done = await read_topic(crew.servers, PLATFORM_ORDERS)
    for partition in range(4):
        assert _keys(done, partition) == [each.key for each in sent + later if each.partition == partition]


async def test_while_a_dependency_is_down_everything_waits_and_nothing_is_dead_lettered(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dependency = tmp_path / "dependency"
    monkeypatch.setenv("MOODY_DEPENDENCY", str(dependency))
    await produce(crew.servers, PAYMENT_COMPLETED, _payments(400))
    settings = {"FAILURE__PAUSE_INTERVAL": "0.05", "FAILURE__MAX_RETRIES": "0"}
    worker = await _moody(crew, monkeypatch, **settings).start().ready()

    def waiting() -> bool:
        lanes = json.loads(worker.fetch("/status/")[1])["lanes"]
        return sum(lane["state"] == "paused" for lane in lanes) >= 3  # one may be probing

    await eventually(waiting, "all partitions to wait for the dependency")
    async with admin(crew.servers) as client:
        assert await committed(client, crew.group("moody"), PAYMENT_COMPLETED) == {}
    dependency.touch()
    await wait_until_consumed(crew.servers, crew.group("moody"), PAYMENT_COMPLETED)
    assert len(await read_topic(crew.servers, PLATFORM_ORDERS)) == 400
    assert await read_topic(crew.servers, DEAD_LETTERS) == []
