"""Real workers whose surroundings fail: a dependency, a deploy, a topic. What they do, and what an operator can."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from support.census import census_of
from support.kafka import admin, committed, create_topic, produce, read_topic, wait_until_consumed
from support.payments import DEAD_LETTERS, Fate, Raw, order, payments, raws
from support.waiting import eventually
from support.worker import Crew, Worker, environment

from streams.topics import ANALYTICS_SALES, PAYMENT_COMPLETED, PLATFORM_ORDERS

_PAYMENTS_ONLY = ("agents.payments",)
# A lane that waits, however long, is alive: these tests take longer than this.
_WATCHED = {"DELIVERY__STALL_AFTER": "1"}
_THREE_IN_A_ROW = {"FAILURE__MAX_CONSECUTIVE_DEAD_LETTERS": "3", **_WATCHED}


def _page(worker: Worker, path: str) -> tuple[int, Any]:
    status, body = worker.fetch(path)
    return status, json.loads(body)


def _lanes(worker: Worker, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``paystream lanes`` for a worker. A wide terminal keeps the table's rows on one line."""
    return subprocess.run(
        [sys.executable, "-m", "faust", "-A", "streams.app", "lanes", *arguments,
         "--worker", f"http://127.0.0.1:{worker.web_port}"],
        env={**environment({}), "COLUMNS": "300"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


async def _committed(crew: Crew, agent: str = "payments") -> dict[int, int]:
    async with admin(crew.servers) as client:
        return await committed(client, crew.group(agent), PAYMENT_COMPLETED)


async def _configure(crew: Crew, topic: str, **config: str) -> None:
    options = {key.replace("_", "."): value for key, value in config.items()}
    async with admin(crew.servers) as client:
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, options)])


def _halted(worker: Worker) -> list[dict[str, Any]]:
    return [lane for lane in _page(worker, "/status/")[1]["lanes"] if lane["state"] == "halted"]


# -- a dependency --------------------------------------------------------------------------------------


async def test_while_a_dependency_is_down_its_agent_waits_and_says_why_and_the_other_agent_goes_on(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dependency = tmp_path / "dependency"
    monkeypatch.setenv("MOODY_DEPENDENCY", str(dependency))
    await produce(crew.servers, PAYMENT_COMPLETED, [Raw(each % 4, b"o%d" % each, order(each)) for each in range(400)])
    settings = {"FAILURE__PAUSE_INTERVAL": "0.05", "FAILURE__MAX_RETRIES": "0", **_WATCHED}
    worker = await crew.hire("worker", agents=["moody", "agents.payments"], **settings).start().ready()
    await wait_until_consumed(crew.servers, crew.group(), PAYMENT_COMPLETED)

    def long_enough() -> bool:
        assert _page(worker, "/health/live/")[0] == 200
        breakers = _page(worker, "/status/")[1]["breakers"]
        return bool(breakers) and breakers[0]["seconds_open"] > 2

    await eventually(long_enough, "an outage longer than a standstill may be", every=0.1)
    status, said = _page(worker, "/health/ready/")
    assert (status, said["status"]) == (503, "degraded")
    (reason,) = said["reasons"]
    assert "the file is down for" in reason
    (breaker,) = _page(worker, "/status/")[1]["breakers"]
    assert breaker["dependency"] == "the file"
    assert breaker["state"] in ("open", "half-open")
    assert worker.statistics()["metric_counts"]["breaker.the file.opened"] == 1
    assert worker.said().count("the file is down") == 1, "said once, not at every probe"
    assert await _committed(crew, "moody") == {}

    dependency.touch()
    await wait_until_consumed(crew.servers, crew.group("moody"), PAYMENT_COMPLETED)
    await eventually(lambda: _page(worker, "/health/ready/")[0] == 200, "the worker to be ready again")
    assert "the file is back" in worker.said()
    assert await read_topic(crew.servers, DEAD_LETTERS) == []
    assert len(await read_topic(crew.servers, PLATFORM_ORDERS)) == 2 * 400


# -- a bad deploy --------------------------------------------------------------------------------------


def _bad_in_partition_0(count: int) -> list[Raw]:
    """Payments of which those in partition 0 cannot be decoded, as if the shop had changed its format."""
    return [Raw(each % 4, b"o%d" % each, order(each) if each % 4 else b"<xml>") for each in range(count)]


async def test_a_lane_over_its_budget_is_seen_everywhere_and_goes_on_when_told_to(crew: Crew) -> None:
    await produce(crew.servers, PAYMENT_COMPLETED, _bad_in_partition_0(32))  # eight bad ones
    worker = await crew.hire("worker", agents=_PAYMENTS_ONLY, **_THREE_IN_A_ROW).start().ready()

    async def halted_at(offset: int) -> None:
        async def there() -> bool:
            return bool(_halted(worker)) and await _committed(crew) == {0: offset, 1: 8, 2: 8, 3: 8}

        await eventually(there, f"the lane to halt at {offset}, and the others to be done", every=0.1)
        assert len(await read_topic(crew.servers, DEAD_LETTERS, "read_uncommitted")) == offset

    await halted_at(3)
    way_out = f"paystream lanes resume {PAYMENT_COMPLETED} 0"
    (lane,) = _halted(worker)
    assert (lane["partition"], lane["next_offset"]) == (0, 3)
    status, said = _page(worker, "/health/ready/")
    assert status == 503
    (complaint,) = [line for line in worker.said().splitlines() if "has halted" in line]
    for text in (lane["reason"], *said["reasons"], complaint):
        assert "3 records in a row were dead-lettered (the limit is 3)" in text
        assert way_out in text

    listed = _lanes(worker, "list")
    row, why = [line for line in listed.stdout.splitlines() if f"{PAYMENT_COMPLETED}-0" in line]
    assert "halted" in row
    assert why == f"{crew.group()} {PAYMENT_COMPLETED}-0: {lane['reason']}", "whole and on one line, to be copied"
    refused = _lanes(worker, "resume", PAYMENT_COMPLETED, "1")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"no lane of {PAYMENT_COMPLETED}-1 has halted" in refused.stderr

    resumed = _lanes(worker, "resume", PAYMENT_COMPLETED, "0")
    assert resumed.stdout == f"{PAYMENT_COMPLETED}-0 goes on for {crew.group()}\n", resumed.stderr
    await halted_at(6)
    assert _page(worker, "/health/live/")[0] == 200

    # A restart begins with a new budget, too, and two are left.
    assert await worker.terminate() == 0
    await worker.start().ready()
    await wait_until_consumed(crew.servers, crew.group(), PAYMENT_COMPLETED)
    await eventually(lambda: _page(worker, "/health/ready/")[0] == 200, "the worker to be ready")
    assert len(await read_topic(crew.servers, DEAD_LETTERS)) == 8
    assert len(await read_topic(crew.servers, PLATFORM_ORDERS)) == 24


# -- topics that refuse --------------------------------------------------------------------------------


async def test_an_output_that_the_brokers_refuse_halts_its_lanes_until_they_no_longer_do(crew: Crew) -> None:
    sent = payments(range(200))
    await _configure(crew, ANALYTICS_SALES, max_message_bytes="100")
    await produce(crew.servers, PAYMENT_COMPLETED, raws(sent))
    settings = {"FAILURE__PAUSE_INTERVAL": "0.2", **_WATCHED}
    worker = await crew.hire("worker", agents=_PAYMENTS_ONLY, **settings).start().ready()
    reasons = await eventually(lambda: [each["reason"] for each in _halted(worker)], "lanes to halt")
    assert all(ANALYTICS_SALES in reason and "TooLarge" in reason for reason in reasons), reasons
    # Between two halts its lanes are at work for a moment.
    await eventually(lambda: _page(worker, "/health/ready/")[0] == 503, "the worker to be unready")
    assert _page(worker, "/health/live/")[0] == 200
    await eventually(
        lambda: worker.statistics()["metric_counts"]["payments.halted"] >= 12, "every lane to have been tried again"
    )
    assert await _committed(crew) == {}
    await _configure(crew, ANALYTICS_SALES, max_message_bytes="2097152")
    await wait_until_consumed(crew.servers, crew.group(), PAYMENT_COMPLETED)
    assert worker.running
    census = await census_of(crew.servers, sent)
    assert census.exact, str(census)


async def test_an_output_topic_deleted_under_a_running_worker_halts_its_lanes_until_it_is_back(crew: Crew) -> None:
    sent = [each for each in payments(range(48)) if each.fate is Fate.PROCESSED]
    await produce(crew.servers, PAYMENT_COMPLETED, raws(sent[:24]))
    worker = await crew.hire("worker", agents=_PAYMENTS_ONLY, KAFKA__DEADLINE="4").start().ready()
    await wait_until_consumed(crew.servers, crew.group(), PAYMENT_COMPLETED)
    async with admin(crew.servers) as client:
        await client.delete_topics([ANALYTICS_SALES])

        async def gone() -> bool:
            return ANALYTICS_SALES not in await client.list_topics()

        await eventually(gone, "the topic to be gone")
    await produce(crew.servers, PAYMENT_COMPLETED, raws(sent[24:]))

    def halted() -> bool:
        assert worker.running, f"it ended with {worker.status}"
        return len(_halted(worker)) == 4

    await eventually(halted, "all lanes to halt")
    await create_topic(crew.servers, ANALYTICS_SALES)
    await wait_until_consumed(crew.servers, crew.group(), PAYMENT_COMPLETED)
    assert len(await read_topic(crew.servers, PLATFORM_ORDERS)) == len(sent)
