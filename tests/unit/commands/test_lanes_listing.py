"""What ``paystream lanes`` says of a worker's lanes, and which of them it asks to go on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner, Result

from streams.commands.lanes import lanes
from streams.failure.errors import ExitStatus


def lane(partition: int, reason: str = "", group: str = "shop.payments", **more: Any) -> dict[str, Any]:
    return {
        "group": group, "topic": "payment.completed", "partition": partition,
        "state": "halted" if reason else "fetching", "next_offset": 1041, "lag": 7, "quiet_seconds": 12.4,
        "reason": reason, **more,
    }  # fmt: skip


class Worker:
    """A worker's pages, with lanes that are told to it, of which those that have halted can go on."""

    def __init__(self, *lanes: dict[str, Any]) -> None:
        self.lanes = list(lanes)
        self.resumed: list[tuple[int, str | None]] = []
        worker = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer({"lanes": worker.lanes})

            def do_POST(self) -> None:
                wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer({"resumed": worker.resume(**wanted)})

            def answer(self, body: Any) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: Any) -> None:
                """Keep quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,)).start()

    def resume(self, topic: str, partition: int, group: str | None) -> list[str]:
        self.resumed.append((partition, group))
        found = [
            each for each in self.lanes
            if (each["topic"], each["partition"], each["state"]) == (topic, partition, "halted")
            and group in (None, each["group"])
        ]  # fmt: skip
        for each in found:
            each["state"] = "starting"
        return [each["group"] for each in found]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def worker() -> Iterator[Worker]:
    started = Worker()
    yield started
    started.close()


def run(worker: Worker, *arguments: str, address: str = "") -> Result:
    return CliRunner().invoke(
        lanes, [*arguments, "--worker", address or worker.address], env={"COLUMNS": "200"}, catch_exceptions=False
    )


# -- list ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "http://"])
def test_a_worker_may_be_named_by_host_and_port_alone(worker: Worker, prefix: str) -> None:
    worker.lanes = [lane(3)]
    result = run(worker, "list", address=prefix + worker.address + "/")
    assert result.exit_code == 0, result.output
    assert "payment.completed-3" in result.stdout


def test_a_worker_without_partitions_is_said_to_have_none(worker: Worker) -> None:
    result = run(worker, "list")
    assert (result.exit_code, result.stdout) == (0, f"the worker at http://{worker.address} has no partitions\n")


def test_a_reason_stands_behind_the_lane_that_it_is_of(worker: Worker) -> None:
    worker.lanes = [lane(0), lane(1, "down [smtp]"), lane(2, "3 records in a row")]
    assert run(worker, "list").stdout.splitlines()[-2:] == [
        "shop.payments payment.completed-1: down [smtp]",
        "shop.payments payment.completed-2: 3 records in a row",
    ]


def test_lanes_with_the_same_reason_share_a_line(worker: Worker) -> None:
    worker.lanes = [lane(0, "down"), lane(1, "other"), lane(2, "down"), lane(2, "down", "shop.ledger")]
    assert run(worker, "list").stdout.splitlines()[-2:] == [
        "shop.payments payment.completed-0, payment.completed-2; shop.ledger payment.completed-2: down",
        "shop.payments payment.completed-1: other",
    ]


# -- resume --------------------------------------------------------------------------------------------


def test_a_topic_without_a_partition_is_all_of_its_lanes_that_have_halted(worker: Worker) -> None:
    worker.lanes = [
        lane(2, "halted"), lane(0, "halted"), lane(1), lane(0, "halted", "shop.ledger"),
        lane(3, "down", state="paused"), lane(5, "halted", topic="payment.cancelled"),
    ]  # fmt: skip
    result = run(worker, "resume", "payment.completed")
    assert result.stdout.splitlines() == [
        "payment.completed-0 goes on for shop.payments, shop.ledger",
        "payment.completed-2 goes on for shop.payments",
    ]
    assert worker.resumed == [(0, None), (2, None)]
    assert result.exit_code == 0


def test_of_a_topic_that_several_agents_read_one_groups_lanes_can_go_on_alone(worker: Worker) -> None:
    worker.lanes = [lane(0, "halted"), lane(0, "halted", "shop.ledger"), lane(1, "halted", "shop.ledger")]
    result = run(worker, "resume", "payment.completed", "--group", "shop.payments")
    assert result.stdout == "payment.completed-0 goes on for shop.payments\n"
    assert worker.resumed == [(0, "shop.payments")]


def test_a_partition_that_is_named_goes_on_alone(worker: Worker) -> None:
    worker.lanes = [lane(0, "halted"), lane(1, "halted")]
    assert run(worker, "resume", "payment.completed", "1").stdout == "payment.completed-1 goes on for shop.payments\n"
    assert worker.resumed == [(1, None)]


def test_a_topic_of_which_no_lane_has_halted_is_named(worker: Worker) -> None:
    worker.lanes = [lane(0)]
    result = run(worker, "resume", "payment.completed")
    assert (result.exit_code, result.stdout) == (ExitStatus.FAILED, "")
    assert f"no lane of payment.completed has halted at http://{worker.address}" in result.stderr
    assert worker.resumed == []
