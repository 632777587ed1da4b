from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from streams.delivery import machinery

# Run by its path: importing its package would load all of Faust, half a second for each process.
PRELUDE = """
import atexit, logging, logging.handlers, os, runpy, sys, time
from streams.failure.errors import *

end_process = runpy.run_path(sys.argv[1])["end_process"]
secret = sys.argv[2]
atexit.register(print, "cleaned up")
"""
SECRET = "card-4111111111111111"


def start(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(program), machinery.__file__, SECRET],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(program: str) -> tuple[int, str, str]:
    """Run a program to its end and return its status, standard output and standard error."""
    process = start(program)
    written, said = process.communicate(timeout=30)
    return process.returncode, written, said


def test_each_kind_of_error_ends_the_process_with_its_own_status_and_one_line() -> None:
    cases = {
        "LaneFenced": (75, "TRY_AGAIN"),
        "AgentContractBroken": (70, "SOFTWARE"),
        "BrokerUnreachable": (69, "UNREACHABLE"),
        "TopicMissing": (78, "CONFIGURATION"),
    }
    processes = {name: start(f"end_process({name}('orders-3: what happened'))") for name in cases}
    for name, (status, word) in cases.items():
        written, said = processes[name].communicate(timeout=30)
        assert processes[name].returncode == status
        line = f"{name}: orders-3: what happened. The process ends with status {status} ({word})"
        assert said.strip() == line
        assert written == ""


def test_what_was_logged_and_printed_before_is_there_and_nothing_is_cleaned_up() -> None:
    status, written, _ = run("""
        target = logging.StreamHandler(sys.stdout)
        logging.getLogger().addHandler(logging.handlers.MemoryHandler(1000, logging.CRITICAL + 1, target))
        logging.getLogger("shop").warning("the last thing seen")
        print("half a line", end="")
        try:
            end_process(LaneFenced("another worker has orders-3"))
        finally:
            print("went on")
    """)
    assert status == 75
    assert "the last thing seen" in written
    assert "LaneFenced: another worker has orders-3" in written
    assert "half a line" in written
    assert "went on" not in written
    assert "cleaned up" not in written


def test_the_causes_are_told_by_class_and_place_and_never_by_their_message() -> None:
    status, written, said = run("""
        def parse_card(text):
            raise ValueError(text)

        def handle():
            try:
                parse_card(secret)
            except ValueError as error:
                raise KeyError(secret) from error

        try:
            handle()
        except KeyError as error:
            failure = MachineryFailure("orders-3 failed while committing")
            failure.__cause__ = error
            end_process(failure)
    """)
    assert status == 75
    assert "MachineryFailure: orders-3 failed while committing" in said
    assert "caused by:" in said
    assert "builtins.KeyError" in said
    assert "builtins.ValueError" in said
    assert "in parse_card" in said
    assert "in handle" in said
    assert SECRET not in written + said


def test_it_ends_the_process_from_a_task_that_nobody_watches() -> None:
    status, _, said = run("""
        import asyncio

        async def lane():
            end_process(CommitOutcomeUnknown("no answer for 60 s"))

        async def main():
            task = asyncio.ensure_future(lane())
            await asyncio.wait_for(asyncio.Event().wait(), 20)

        asyncio.run(main())
    """)
    assert status == 75
    assert "CommitOutcomeUnknown: no answer for 60 s" in said


TROUBLES = {
    # A handler that a worker's owner brought along.
    "a broken log handler": """
        class Broken(logging.Handler):
            def emit(self, record):
                raise RuntimeError("the log server is gone")

        logging.getLogger().addHandler(Broken())
    """,
    # A full disk, or a log server that does not answer.
    "a log handler that does not return": """
        class Stuck(logging.Handler):
            def emit(self, record):
                time.sleep(30)

        logging.getLogger().addHandler(Stuck())
    """,
    # How a process without a standard output finds it.
    "no standard output": "sys.stdout = None",
    "a closed standard output": "sys.stdout.close()",
    "closed descriptors": "print('never seen'); os.close(1); os.close(2)",
    "two errors that each name the other as their cause": """
        one, other = ValueError(), ValueError()
        one.__cause__, other.__cause__ = other, one
        failure.__cause__ = one
    """,
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
def test_no_trouble_on_the_way_keeps_the_process_alive(trouble: str) -> None:
    program = (
        "failure = LaneFenced('another worker has it')\n"
        + textwrap.dedent(trouble)
        + textwrap.dedent("""
        import threading
        # Memory would run full before anybody noticed: the end needs far less than this.
        threading.Thread(target=lambda: (time.sleep(10), os._exit(99)), daemon=True).start()
        try:
            end_process(failure)
        finally:
            os._exit(98)
        """)
    )
    status, _, _ = run(program)
    assert status == 75, {98: "it went on living", 99: "it was still at it after ten seconds"}.get(status)
