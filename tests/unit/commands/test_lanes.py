"""The command against servers that answer as no worker should; against workers it is in the acceptance tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner, Result

from streams.commands import lanes as command
from streams.failure.errors import ExitStatus
from streams.sandbox.process import free_ports

LANE = {
    "group": "shop.payments", "topic": "payment.completed", "partition": 3, "state": "halted", "next_offset": 1041,
    "end_offset": 1048, "lag": 7, "quiet_seconds": 12.4, "reason": "3 records in a row",
}  # fmt: skip

Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that give one answer to everything, and stop them afterwards."""
    servers = []
    over = threading.Event()

    def start(body: Any, status: int = 200, *, asked: list[bytes] | None = None, hangs: bool = False) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                if asked is not None:
                    asked.append(f"{self.command} {self.path} ".encode() + self.rfile.read(length))
                if hangs:
                    over.wait()
                    return
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            do_POST = do_GET  # noqa: N815 - the standard library's name

            def log_message(self, *_: Any) -> None:
                """Keep quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    over.set()
    for server in servers:
        server.shutdown()
        server.server_close()


def run(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(command.lanes, arguments, env={"COLUMNS": "200", **env})


def complaint(result: Result) -> str:
    """Return the one line on standard error of a command that failed."""
    assert result.exit_code == ExitStatus.FAILED, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


# -- list ----------------------------------------------------------------------------------------------


def test_lanes_are_listed_with_their_state_lag_and_reason(serve: Serve) -> None:
    asked: list[bytes] = []
    quiet = {**LANE, "partition": 4, "state": "starting", "next_offset": None, "lag": None, "reason": ""}
    result = run("list", "--worker", serve({"lanes": [LANE, quiet]}, asked=asked) + "/")
    assert result.exit_code == 0, result.output
    assert asked == [b"GET /status/ "]
    row, reason = [line for line in result.stdout.splitlines() if "payment.completed-3" in line]
    for text in ("shop.payments", "halted", "1,041", "7", "12 s"):
        assert text in row
    assert reason == "shop.payments payment.completed-3: 3 records in a row", "whole, to be copied"
    (row,) = [line for line in result.stdout.splitlines() if "payment.completed-4" in line]
    assert row.count("?") == 2


@pytest.mark.parametrize("reason", ["refused [by the proxy]", "gone [/var/run/db.sock]"])
def test_a_reason_is_shown_as_it_is(serve: Serve, reason: str) -> None:
    result = run("list", "--worker", serve({"lanes": [{**LANE, "reason": reason}]}))
    assert reason in result.stdout


def test_the_address_is_that_of_the_settings_unless_it_is_named(serve: Serve) -> None:
    port = serve({"lanes": [LANE]}).rpartition(":")[2]
    result = run("list", PAYSTREAM_WEB__PORT=port)
    assert "payment.completed-3" in result.stdout


# -- resume --------------------------------------------------------------------------------------------


def test_resuming_says_what_goes_on(serve: Serve) -> None:
    asked: list[bytes] = []
    url = serve({"resumed": ["shop.payments"]}, asked=asked)
    result = run("resume", "payment.completed", "3", "--group", "shop.payments", "--worker", url)
    assert result.stdout == "payment.completed-3 goes on for shop.payments\n"
    path, _, body = asked[0].rpartition(b"/ ")
    assert path == b"POST /lanes/resume"
    assert json.loads(body) == {"topic": "payment.completed", "partition": 3, "group": "shop.payments"}


def test_where_nothing_has_halted_that_is_said_with_the_way_to_find_out(serve: Serve) -> None:
    url = serve({"resumed": []})
    line = complaint(run("resume", "payment.completed", "3", "--worker", url))
    assert f"no lane of payment.completed-3 has halted at {url}" in line
    assert "paystream lanes list" in line
    assert "another worker may have the partition" in line


@pytest.mark.parametrize("partition", ["-1", "three"])
def test_a_partition_is_a_number(partition: str) -> None:
    assert run("resume", "--", "payment.completed", partition).exit_code == 2


# -- when it does not work -----------------------------------------------------------------------------

both = pytest.mark.parametrize("arguments", [("list",), ("resume", "payment.completed", "3")])


@both
def test_where_nobody_listens_the_address_and_the_option_are_named(arguments: tuple[str, ...]) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    line = complaint(run(*arguments, "--worker", url))
    assert url in line
    assert "--worker URL" in line


@both
def test_a_worker_that_does_not_answer_is_not_waited_for_without_end(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr(command, "_SECONDS", 0.2)
    url = serve({}, hangs=True)
    assert f"no worker answers at {url}" in complaint(run(*arguments, "--worker", url))


@both
@pytest.mark.parametrize("status", [404, 500])
def test_who_answers_with_an_error_is_no_worker(serve: Serve, status: int, arguments: tuple[str, ...]) -> None:
    url = serve({"error": "no"}, status)
    assert url in complaint(run(*arguments, "--worker", url))


@both
def test_an_address_that_is_none_is_named(arguments: tuple[str, ...]) -> None:
    assert "not-an-address" in complaint(run(*arguments, "--worker", "not-an-address"))


@both
@pytest.mark.parametrize("body", [b"<html>", {"hello": "world"}], ids=["no JSON", "other JSON"])
def test_who_answers_something_else_is_no_worker(serve: Serve, body: Any, arguments: tuple[str, ...]) -> None:
    url = serve(body)
    assert url in complaint(run(*arguments, "--worker", url))


def test_help_teaches_with_examples() -> None:
    shown = run("--help").stdout
    assert "paystream lanes list" in shown
    assert "paystream lanes resume payment.completed 3" in shown


# -- skip ----------------------------------------------------------------------------------------------

UNREADABLE = {
    "group": "shop.payments", "first_offset": 5, "next_offset": 10, "records": 5, "what": "offsets 5 to 9 (5 records)",
    "cause": "its checksum is wrong", "given_up": False,
}  # fmt: skip


def test_without_yes_it_is_said_what_would_be_given_up_and_nothing_is_asked_for(serve: Serve) -> None:
    asked: list[bytes] = []
    result = run("skip", "payment.completed", "3", "--worker", serve({"unreadable": [UNREADABLE]}, asked=asked))
    assert result.exit_code == 0, result.output
    first, last = result.stdout.splitlines()
    assert (
        first == "shop.payments payment.completed-3: offsets 5 to 9 (5 records) cannot be read: its checksum is wrong"
    )
    assert "Nothing has been changed" in last
    (request,) = asked
    assert request.startswith(b"POST /lanes/skip/ ")
    assert json.loads(request.rpartition(b"/ ")[2]) == {
        "topic": "payment.completed", "partition": 3, "group": None, "first_offset": None, "next_offset": None,
    }  # fmt: skip


def test_with_yes_exactly_what_was_shown_is_asked_for(serve: Serve) -> None:
    asked: list[bytes] = []
    body = {"unreadable": [{**UNREADABLE, "given_up": True}], "lanes": [{**LANE, "next_offset": 10}]}
    result = run("skip", "payment.completed", "3", "--yes", "--worker", serve(body, asked=asked))
    assert result.stdout.splitlines()[1] == (
        "shop.payments goes on with payment.completed-3 at 10: 5 records are lost to it"
    )
    wanted = json.loads(asked[1].rpartition(b"/ ")[2])
    assert (wanted["group"], wanted["first_offset"], wanted["next_offset"]) == ("shop.payments", 5, 10)


def test_what_has_changed_meanwhile_is_not_given_up(serve: Serve) -> None:
    url = serve({"unreadable": [UNREADABLE]})
    result = run("skip", "payment.completed", "3", "--yes", "--worker", url)
    assert result.exit_code == ExitStatus.FAILED
    assert "nothing is given up for shop.payments: look again" in result.stderr


def test_a_lane_that_does_not_get_past_it_is_said_to_be_still_there(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_SECONDS", 0.5)
    url = serve({"unreadable": [{**UNREADABLE, "given_up": True}], "lanes": [{**LANE, "next_offset": 5}]})
    result = run("skip", "payment.completed", "3", "--yes", "--worker", url)
    assert result.exit_code == ExitStatus.FAILED
    assert "has not yet" in result.stderr


def test_where_nothing_is_damaged_that_is_said_with_the_way_to_find_out(serve: Serve) -> None:
    url = serve({"unreadable": []})
    line = complaint(run("skip", "payment.completed", "3", "--yes", "--worker", url))
    assert f"no lane of payment.completed-3 at {url}" in line
    assert "paystream lanes list" in line
