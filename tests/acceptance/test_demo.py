"""The demo as a user runs it: a process of its own, with and without a terminal."""

from __future__ import annotations

import codecs
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from streams.commands.demo import demo; demo(prog_name='paystream demo')"]
PATIENCE = 180.0
PAYMENTS, CANCELLATIONS, DEAD = 137, 6, 10
ORDERS = PAYMENTS + CANCELLATIONS
"""What the example holds: amounts of zero and a negative quantity make the dead letters."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the demo may leave something behind."""
    (tmp_path / "temporary").mkdir()
    return tmp_path / "temporary"


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}


def plain(text: str) -> str:
    """Take out what only a terminal understands."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", text)


# -- processes -------------------------------------------------------------------------------------


def children_of(parent: int) -> dict[int, str]:
    """Return the process ids and command lines of a process's children."""
    listing = subprocess.run(
        ["ps", "-axww", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in listing.splitlines()]
    return {int(row[0]): row[2] for row in rows if len(row) == 3 and int(row[1]) == parent}


def is_alive(process: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


class Terminal:
    """A demo that believes to talk to a person."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.said = ""
        ours, theirs = pty.openpty()
        self._screen = ours
        self._decoder = codecs.getincrementaldecoder("utf-8")()  # a read may end within a character
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs,
            env=environment(folder), start_new_session=True, preexec_fn=_take_the_terminal,
        )  # fmt: skip
        os.close(theirs)

    def read_until(self, pattern: str) -> re.Match[str]:
        """Read until something is said."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, plain(self.said))):
            assert time.monotonic() < deadline, f"never said {pattern!r}:\n{plain(self.said)}"
            assert self.read(), f"ended before it said {pattern!r}:\n{plain(self.said)}"
        return found

    def read(self) -> bool:
        """Take what is there within a moment; return whether more may come."""
        if not select.select([self._screen], [], [], 0.1)[0]:
            return True
        try:
            more = os.read(self._screen, 65_536)
        except OSError:  # EIO: everybody who had it has closed it
            return False
        self.said += self._decoder.decode(more)
        return bool(more)

    def press_ctrl_c(self) -> None:
        os.write(self._screen, b"\x03")

    def wait(self) -> int:
        """Return the exit status."""
        while self.read() and self.process.poll() is None:
            pass
        status = self.process.wait(PATIENCE)
        while select.select([self._screen], [], [], 0)[0] and self.read():
            pass  # its last words
        return status

    def close(self) -> None:
        os.close(self._screen)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def _take_the_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def terminal(folder: Path, *arguments: str) -> Iterator[Terminal]:
    opened = Terminal(folder, *arguments)
    try:
        yield opened
    finally:
        opened.close()


def helpers_of(process: int) -> list[int]:
    """Name the demo's Kafka and its worker; there must be one of each."""
    children = children_of(process)
    kafka = [pid for pid, command in children.items() if "kafka.Kafka" in command]
    worker = [pid for pid, command in children.items() if "faust" in command and "worker" in command]
    assert (len(kafka), len(worker)) == (1, 1), children
    return kafka + worker


# -- without a terminal ----------------------------------------------------------------------------


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=environment(folder), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=PATIENCE,
    )  # fmt: skip


def test_without_a_terminal_it_ends_by_itself_and_its_numbers_add_up(folder: Path) -> None:
    done = run(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    equation = re.search(r"(\d+) consumed = (\d+) platform records \+ (\d+) dead letters, of (\d+) publ", done.stdout)
    assert equation is not None
    assert [int(number) for number in equation.groups()] == [ORDERS, ORDERS - DEAD, DEAD, ORDERS]
    rows = {line.split()[0]: line.split()[-3:] for line in lines if re.match(r" [a-z]+\.[a-zA-Z.]+ ", line)}
    assert rows.pop("payment.completed")[-1] == str(PAYMENTS)
    assert rows.pop("payment.cancelled")[-1] == str(CANCELLATIONS)
    assert f"{ORDERS - DEAD} rows in" in done.stdout
    assert "127 letters sent" in done.stdout
    assert "log:" not in done.stdout, "it is removed at the end"
    assert re.search(r"United Kingdom +120 +54,818.08 GBP +5 +202.93 +54,615.15", done.stdout)
    assert re.search(r"all countries +127 +58,960.79 GBP +6 +325.23 +58,635.56", done.stdout)
    assert "Stock, letters, revenue and files agree with the input and with each other." in done.stdout
    assert rows.pop("payment.completed.DLT") == [str(DEAD), "0", "0"]
    assert len(rows) == 4
    assert set(map(tuple, rows.values())) == {(str(ORDERS - DEAD), "0", "0")}
    reasons = [int(line.split()[0]) for line in lines if re.search(r"^ +\d+ .* order \d+ *$", line)]
    assert sum(reasons) == DEAD
    assert not list(folder.iterdir())


def test_other_orders_can_be_sent_to_several_brokers(folder: Path, tmp_path: Path) -> None:
    line = (
        '{"paymentId":"p%d","orderId":"o%d","customerId":null,"method":"CARD","currency":"GBP","amount":"%s",'
        '"paidAt":"2010-12-01T08:26:00Z","country":"United Kingdom",'
        '"lines":[{"sku":"1","name":"n","quantity":1,"unitPrice":"1.50"}]}'
    )
    orders = tmp_path / "orders.jsonl"
    # One that is wrong, and one that comes twice.
    orders.write_text("\n".join([line % (1, 1, "1.50"), line % (2, 2, "1.51"), *[line % (3, 3, "1.50")] * 2]))
    done = run(folder, "--orders", str(orders), "--brokers", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 brokers" in done.stdout
    assert "4 consumed = 3 platform records + 1 dead letters, of 4 published" in done.stdout
    assert "order o2" in done.stdout


@pytest.mark.parametrize(
    ("content", "reason"), [("", "orders.jsonl: the file is empty"), ("{broken", "orders.jsonl:1: not JSON")]
)
def test_orders_that_cannot_be_read_stop_it_before_anything_is_started(
    folder: Path, tmp_path: Path, content: str, reason: str
) -> None:
    orders = tmp_path / "orders.jsonl"
    orders.write_text(content)
    done = run(folder, "--orders", str(orders))
    assert (done.returncode, done.stdout) == (65, "")
    assert reason in done.stderr
    assert not list(folder.iterdir())


# -- on a terminal ---------------------------------------------------------------------------------


def look_closer(exported: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from streams.commands.main import main; main()"]
    return subprocess.run(
        [*program, *arguments], env={**os.environ, **exported, "COLUMNS": "160"}, capture_output=True, text=True
    )


def test_on_a_terminal_it_stays_up_until_ctrl_c_and_leaves_nothing_behind(folder: Path) -> None:
    with terminal(folder) as demo:
        address = demo.read_until(r"http://127\.0\.0\.1:\d+/").group()
        place = demo.read_until(r"dead-letters show (\S+) (\d+) (\d+)\n").groups()
        exported = dict(re.findall(r"export (PAYSTREAM_\w+)=(\S+)\n", plain(demo.said)))
        helpers = helpers_of(demo.process.pid)
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.status == 200
        for arguments, said in (
            (("dead-letters", "show", *place), "paystream.payments"),
            (("platform", "check"), "complete"),
            (("lanes", "list"), "payment.completed-0"),
            (("analytics", "report", "--by", "sku", "--top", "5"), "GBP"),
        ):
            shown = look_closer(exported, *arguments)
            assert shown.returncode == 0, shown.stderr
            assert said in shown.stdout
        demo.press_ctrl_c()
        assert demo.wait() == 0
        assert "Stopping" in demo.said
    for helper in helpers:
        until(lambda helper=helper: not is_alive(helper), f"process {helper} to be gone", 5)  # type: ignore[misc]
    assert not list(folder.iterdir())


def test_ctrl_c_while_kafka_starts_ends_it_at_once_and_leaves_nothing_behind(folder: Path) -> None:
    with terminal(folder) as demo:
        until(lambda: demo.read() and bool(children_of(demo.process.pid)), "a child")
        children = list(children_of(demo.process.pid))
        demo.press_ctrl_c()
        assert demo.wait() == 130
        assert "Traceback" not in demo.said
    for child in children:
        until(lambda child=child: not is_alive(child), f"process {child} to be gone", 5)  # type: ignore[misc]
    assert not [path for path in folder.iterdir() if path.name.startswith("paystream-demo")]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_nothing_survives_a_demo_that_is_killed(folder: Path) -> None:
    with terminal(folder) as demo:
        demo.read_until("Still up")
        helpers = helpers_of(demo.process.pid)
        demo.process.kill()
        demo.wait()
    for helper in helpers:
        until(lambda helper=helper: not is_alive(helper), f"process {helper} to be gone")  # type: ignore[misc]


# -- when something dies ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("victim", "status", "said"),
    [("worker", 1, "the worker ended with status -9. The end of its log"), ("kafka", 78, "broker")],
)
def test_a_part_that_dies_ends_it_with_an_error_that_says_which(
    folder: Path, victim: str, status: int, said: str
) -> None:
    with terminal(folder, "--keep") as demo:
        demo.read_until("dead-letters show")
        kafka, worker = helpers_of(demo.process.pid)
        os.kill({"worker": worker, "kafka": kafka}[victim], signal.SIGKILL)
        assert demo.wait() == status
        assert said in plain(demo.said)
        assert "Traceback" not in demo.said
    for helper in (kafka, worker):
        until(lambda helper=helper: not is_alive(helper), f"process {helper} to be gone", 5)  # type: ignore[misc]
    if victim == "worker":
        (log,) = folder.glob("paystream-demo-*/worker.log")
        assert "has partitions" in log.read_text()
    with suppress(FileNotFoundError):
        assert not list(folder.glob("paystream-kafka-*/broker-*/data"))
