"""How workers start, share, stop and end: what an operator and a supervisor rely on."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time

import pytest
from support.census import census_of
from support.kafka import admin, committed, end_offsets, produce, wait_until_consumed
from support.payments import DEAD_LETTERS, OUTPUTS, Fate, payments, raws
from support.waiting import eventually
from support.worker import Crew, Worker, environment

from streams.sandbox.process import free_ports
from streams.topics import PAYMENT_COMPLETED

_SMALL_BATCHES = {"DELIVERY__MAX_BATCH_RECORDS": "200"}
_PAYMENTS_ONLY = ("agents.payments",)


def _partitions(worker: Worker) -> list[str]:
    """Return the partitions of the payments agent, as its log named them last."""
    listed: list[str] = re.findall(rf"payments has partitions ({PAYMENT_COMPLETED}.*?) *$", worker.said(), re.MULTILINE)
    return listed[-1].split(", ") if listed else []


def _complaints(worker: Worker) -> list[str]:
    return [line for line in worker.said().splitlines() if "[CRITICAL]" in line]


# -- stopping ----------------------------------------------------------------------------------------


async def test_sigterm_finishes_the_batch_in_hand_and_ends_with_0(crew: Crew) -> None:
    await produce(crew.servers, PAYMENT_COMPLETED, raws(payments(range(30_000))))
    worker = await crew.hire("worker", **_SMALL_BATCHES).start().ready()
    async with admin(crew.servers) as client:

        async def busy() -> bool:
            return sum((await committed(client, crew.group(), PAYMENT_COMPLETED)).values()) > 1_000

        await eventually(busy, "work to be in progress", every=0.01)
        asked = time.monotonic()
        assert await worker.terminate() == 0
        assert time.monotonic() - asked < 10
        done = await committed(client, crew.group(), PAYMENT_COMPLETED)
    assert 1_000 < sum(done.values()) < 30_000, "it was not busy when it was asked to stop"

    # Nothing is left open, so a reader sees at once all that was written, and it is what was committed.
    for topic in (*OUTPUTS, DEAD_LETTERS):
        assert await end_offsets(crew.servers, topic, "read_committed") == await end_offsets(crew.servers, topic)
    consumed = [each for each in payments(range(30_000)) if each.number // 4 < done.get(each.raw.partition, 0)]
    census = await census_of(crew.servers, consumed)
    assert census.exact, str(census)


async def test_a_worker_that_stops_is_succeeded_at_once_not_after_its_session(crew: Crew) -> None:
    session = 30.0
    first, second = (
        crew.hire(name, agents=_PAYMENTS_ONLY, KAFKA__SESSION_TIMEOUT=f"{session:g}") for name in ("first", "second")
    )
    await first.start().ready()
    await second.start().ready()
    await eventually(lambda: len(_partitions(first)) == 2, "the partitions to be shared")
    left = time.monotonic()
    assert await second.terminate() == 0
    await eventually(lambda: len(_partitions(first)) == 4, "the other worker to take over", seconds=session)
    assert time.monotonic() - left < session / 2


# -- sharing -----------------------------------------------------------------------------------------


async def test_workers_that_join_leave_and_die_share_the_work_without_loss_or_double(crew: Crew) -> None:
    sent = payments(range(12_000))
    shares = [raws(sent[start : start + 2_000]) for start in range(0, 12_000, 2_000)]
    one, two, three = (crew.hire(name, agents=_PAYMENTS_ONLY, **_SMALL_BATCHES) for name in ("one", "two", "three"))

    async def work() -> None:
        await produce(crew.servers, PAYMENT_COMPLETED, shares.pop())

    await one.start().ready()
    await work()
    await asyncio.gather(two.start().ready(), work())
    await eventually(lambda: len(_partitions(one)) == len(_partitions(two)) == 2, "two workers to share")
    assert set(_partitions(one)).isdisjoint(_partitions(two))
    await asyncio.gather(three.start().ready(), work())
    await asyncio.gather(two.terminate(), work())
    assert two.status == 0
    await work()
    three.kill()
    await work()
    await wait_until_consumed(crew.servers, crew.group(), PAYMENT_COMPLETED)
    census = await census_of(crew.servers, sent)
    assert census.exact, str(census)
    assert one.running


# -- starting ----------------------------------------------------------------------------------------


async def test_a_missing_topic_ends_with_78_and_names_the_way_out(crew: Crew) -> None:
    async with admin(crew.servers) as client:
        await client.delete_topics([PAYMENT_COMPLETED])
    worker = crew.hire("worker").start()
    assert await worker.ended() == 78
    (complaint,) = _complaints(worker)
    assert PAYMENT_COMPLETED in complaint
    assert "paystream topics apply" in complaint


async def test_where_no_broker_answers_it_ends_with_69_and_one_line_about_what_was_tried(crew: Crew) -> None:
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    worker = crew.hire("worker", KAFKA__BOOTSTRAP_SERVERS=nobody).start()
    assert await worker.ended() == 69
    (complaint,) = _complaints(worker)
    assert nobody in complaint
    assert "PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS" in complaint
    assert "Traceback" not in worker.said()


def test_a_wrong_setting_ends_with_78_and_names_the_variable(crew: Crew) -> None:
    ended = _faust(crew, "worker", DELIVERY__GUARANTEE="exactly_twice")
    assert ended.returncode == 78
    assert "PAYSTREAM_DELIVERY__GUARANTEE" in ended.stderr
    assert "Traceback" not in ended.stderr


# -- an agent that breaks its contract ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("raises", "agent careless raised KeyError"),
        ("returns", "an actor ended"),
        ("takes another", "took another batch without having finished"),
    ],
)
async def test_an_agent_that_breaks_its_contract_ends_the_process_with_70(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, how: str, what: str
) -> None:
    monkeypatch.setenv("CARELESS_HOW", how)
    await produce(crew.servers, PAYMENT_COMPLETED, raws(payments(range(100))))
    worker = crew.hire("worker", agents=["careless"]).start()
    assert await worker.ended() == 70
    (complaint,) = _complaints(worker)
    assert "AgentContractBroken" in complaint
    assert what in complaint
    assert "customerId" not in worker.said(), "an exception's message may quote a payload"
    async with admin(crew.servers) as client:
        assert await committed(client, crew.group("careless"), PAYMENT_COMPLETED) == {}


# -- what can be seen of it --------------------------------------------------------------------------


async def test_the_statistics_count_what_was_done(crew: Crew) -> None:
    sent = payments(range(1_000))
    processed = sum(each.fate is Fate.PROCESSED for each in sent)
    bad = len(sent) - processed
    await produce(crew.servers, PAYMENT_COMPLETED, raws(sent))
    worker = await crew.hire("worker", agents=_PAYMENTS_ONLY).start().ready()
    await wait_until_consumed(crew.servers, crew.group(), PAYMENT_COMPLETED)
    await eventually(lambda: worker.statistics()["events_total"] == 1_000, "the counts")

    seen = worker.statistics()
    assert seen["messages_received_total"] == 1_000
    assert seen["messages_received_by_topic"] == {PAYMENT_COMPLETED: 1_000}
    assert seen["messages_active"] == 0
    assert seen["messages_sent"] == processed * 4 + bad
    assert seen["messages_sent_by_topic"] == {**dict.fromkeys(OUTPUTS, processed), DEAD_LETTERS: bad}
    assert seen["topic_committed_offsets"] == {PAYMENT_COMPLETED: {str(each): 250 for each in range(4)}}
    assert seen["topic_end_offsets"] == {PAYMENT_COMPLETED: {str(each): 250 for each in range(4)}}
    assert seen["commit_latency"]
    assert all(0 < seconds < 30 for seconds in seen["commit_latency"])
    counts = seen["metric_counts"]
    assert counts["payments.consumed"] == 1_000
    assert counts["payments.processed"] == processed
    assert sum(counts[f"payments.dead_lettered.{each}"] for each in ("decode", "validate")) == bad


async def test_no_page_of_the_worker_shows_what_it_works_on(crew: Crew) -> None:
    worker = await crew.hire("worker", agents=_PAYMENTS_ONLY).start().ready()
    assert worker.fetch("/")[0] == 200
    for path in ("/table/", "/router/"):
        assert worker.fetch(path)[0] == 404


def test_faust_lists_the_agents_with_their_topics_and_purposes(crew: Crew) -> None:
    listed = _faust(crew, "agents")
    assert listed.returncode == 0, listed.stderr
    for name, topic, purpose in (
        ("payments", PAYMENT_COMPLETED, "Turn each paid order into"),
        ("dead_letters", DEAD_LETTERS, "Report each dead letter"),
    ):
        (row,) = [line for line in listed.stdout.splitlines() if f"@agents.{name}.{name}" in line]
        assert f"| {topic}" in row
        assert purpose in row


def _faust(crew: Crew, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run ``faust -A streams.app`` to its end. A wide terminal keeps the table's rows on one line."""
    return subprocess.run(
        [sys.executable, "-m", "faust", "-A", "streams.app", *command],
        env={**environment({"KAFKA__BOOTSTRAP_SERVERS": crew.servers, **settings}), "COLUMNS": "250"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
