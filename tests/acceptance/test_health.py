"""The probes of real workers: what an orchestrator sees from the first second to the last."""

from __future__ import annotations

import json
import urllib.error
from typing import Any

import pytest
from support.kafka import produce, wait_until_consumed
from support.payments import Raw, order
from support.waiting import eventually
from support.worker import Crew, Worker

from streams.topics import PAYMENT_COMPLETED


def _probe(worker: Worker, which: str) -> tuple[int, Any]:
    status, body = worker.fetch(f"/health/{which}/")
    return status, json.loads(body)


def _answers(worker: Worker) -> int | None:
    try:
        return _probe(worker, "live")[0]
    except urllib.error.URLError:
        assert worker.running, worker.tail()
        return None


async def test_a_handler_that_hangs_fails_the_liveness_probe_and_a_restart_is_the_cure(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    await produce(crew.servers, PAYMENT_COMPLETED, [Raw(each % 4, b"o%d" % each, order(each)) for each in range(40)])
    monkeypatch.setenv("MOODY_FAILURES", "o8:hang")
    # A session that outlasts any start: for so long a worker that was killed keeps its partitions.
    patient = {"FAILURE__HANDLER_TIMEOUT": "3600", "DELIVERY__STALL_AFTER": "2", "KAFKA__SESSION_TIMEOUT": "15"}
    worker = await crew.hire("worker", agents=["moody"], **patient).start().ready()
    assert _probe(worker, "live")[0] == 200

    await eventually(lambda: _probe(worker, "live")[0] != 200, "the probe to fail", every=0.1)
    status, said = _probe(worker, "live")
    assert (status, said["status"]) == (503, "degraded")
    assert len(said["reasons"]) == 1, "the other partitions have no work left"
    assert f"{crew.group('moody')}: {PAYMENT_COMPLETED}-0 has got nowhere for" in said["reasons"][0]
    assert _probe(worker, "ready")[0] == 503

    # An orchestrator's last resort. The group gives the partitions away only when its session has timed out.
    worker.kill()
    monkeypatch.setenv("MOODY_FAILURES", "")
    worker.start()
    assert await eventually(lambda: _answers(worker), "the page") == 200
    assert _probe(worker, "ready") == (
        503, {"status": "degraded", "reasons": ["no partitions have been assigned yet"]},
    )  # fmt: skip

    def ready() -> bool:
        assert _probe(worker, "live")[0] == 200
        return _probe(worker, "ready") == (200, {"status": "ok", "reasons": []})

    await eventually(ready, "the worker to be ready", every=0.05)
    await wait_until_consumed(crew.servers, crew.group("moody"), PAYMENT_COMPLETED)
