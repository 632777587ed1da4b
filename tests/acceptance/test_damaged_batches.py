"""A flipped byte in an event topic, and one among its dead letters: a real worker, and what is typed at night."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from click.testing import CliRunner, Result
from support.damage import flip, segment, stored
from support.kafka import produce, read_topic
from support.payments import DEAD_LETTERS, Raw, order
from support.waiting import eventually
from support.worker import Crew, Worker

from streams.commands.dead_letters import dead_letters
from streams.commands.lanes import lanes
from streams.failure.errors import ExitStatus
from streams.sandbox import Cluster
from streams.settings import settings
from streams.topics import PAYMENT_COMPLETED, PLATFORM_ORDERS

_DAMAGED = range(5, 10)
_BAD = range(15, 20)
"""What is dead-lettered; the letters of the first partition are damaged, too."""


def _reasons(worker: Worker) -> list[str]:
    return list(json.loads(worker.fetch("/health/ready/")[1])["reasons"])


def _counts(worker: Worker) -> dict[str, int]:
    counts: dict[str, int] = worker.statistics()["metric_counts"]
    return counts


async def _lanes(worker: Worker, *arguments: str) -> Result:
    return await asyncio.to_thread(
        CliRunner().invoke, lanes, [*arguments, "--worker", f"127.0.0.1:{worker.web_port}"], env={"COLUMNS": "200"}
    )


async def test_a_flipped_byte_stops_one_partition_until_somebody_gives_its_batch_up(
    kafka: Cluster, crew: Crew, monkeypatch: Any
) -> None:
    for first in range(0, 20, 5):
        values = [(number, b"{" if number in _BAD else order(number)) for number in range(first, first + 5)]
        await produce(crew.servers, PAYMENT_COMPLETED, [Raw(0, b"o%d" % number, value) for number, value in values])
    await produce(crew.servers, PAYMENT_COMPLETED, [Raw(1, b"o%d" % number, order(number)) for number in range(50, 55)])
    file = segment(kafka, PAYMENT_COMPLETED)
    flip(file, stored(file)[1], -2)
    worker = await crew.hire("worker", FAILURE__PAUSE_INTERVAL="0.5").start().ready()
    try:
        # One lane halts and says why, with the way out; all others work.
        lane = f"{crew.group()}: {PAYMENT_COMPLETED}-0 has halted: offsets 5 to 9 (5 records) cannot be read"
        await eventually(lambda: [each for each in _reasons(worker) if each.startswith(lane)], "the lane to halt")
        await eventually(lambda: _counts(worker).get("payments.processed") == 10, "all that can be read")
        assert worker.fetch("/health/live/")[0] == 200

        # Without --yes nothing changes.
        shown = await _lanes(worker, "skip", PAYMENT_COMPLETED, "0")
        assert shown.exit_code == 0, shown.output
        assert "offsets 5 to 9 (5 records) cannot be read: its checksum is wrong" in shown.stdout
        assert "Nothing has been changed" in shown.stdout
        assert "payments.skipped.lost" not in _counts(worker)
        other = await _lanes(worker, "skip", PAYMENT_COMPLETED, "1", "--yes")
        assert other.exit_code == ExitStatus.FAILED
        assert "paystream lanes list" in other.stderr

        # With it, exactly that is passed over, and counted.
        done = await _lanes(worker, "skip", PAYMENT_COMPLETED, "0", "--yes")
        assert done.exit_code == 0, done.output
        assert f"{crew.group()} goes on with {PAYMENT_COMPLETED}-0 at 10: 5 records are lost to it" in done.stdout
        await eventually(lambda: _counts(worker).get("payments.consumed") == 25, "everything")
        counts = _counts(worker)
        assert (counts["payments.processed"], counts["payments.skipped.lost"]) == (15, 5)
        assert counts["payments.dead_lettered.decode"] == 5
        await eventually(lambda: not _reasons(worker), "the worker to be ready")
        assert "offsets 5 to 9 (5 records) were given up, and are lost" in worker.said()
        keys = {each.key for each in await read_topic(crew.servers, PLATFORM_ORDERS)}
        assert keys == {b"o%d" % number for number in [*range(5), *range(10, 15), *range(50, 55)]}

        # The letters are listed around one that is damaged.
        await produce(crew.servers, PAYMENT_COMPLETED, [Raw(0, b"o60", b"[")])
        await eventually(lambda: _counts(worker)["payments.dead_lettered.decode"] == 6, "another letter")
        file = segment(kafka, DEAD_LETTERS)
        flip(file, stored(file)[0], -2)
        monkeypatch.setenv("PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS", crew.servers)
        settings.cache_clear()
        listed = await asyncio.to_thread(CliRunner().invoke, dead_letters, ["list", "--topic", DEAD_LETTERS, "--json"])
        assert listed.exit_code == 0, listed.output
        assert [json.loads(line)["origin_offset"] for line in listed.stdout.splitlines()] == [20]
        assert listed.stderr == f"passed over {DEAD_LETTERS}-0, offsets 0 to 4 (5 records): its checksum is wrong\n"
        assert await worker.terminate() == 0
    finally:
        worker.kill()
