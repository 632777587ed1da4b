from __future__ import annotations

import os
import subprocess
import sys
from typing import get_args

import pytest

from streams.delivery import crash_points
from streams.delivery.crash_points import CRASH_POINTS, VARIABLE, CrashPoint, crash_point

# Run by its path: importing its package would load all of Faust, half a second for each process.
PROGRAM = """
import atexit, runpy, sys
atexit.register(print, "cleaned up")
crash_point = runpy.run_path(sys.argv[1])["crash_point"]
for turn in (1, 2, 3):
    crash_point("after_fetch")
    print(turn, "after_fetch", flush=True)
    crash_point("after_send")
    print(turn, "after_send", flush=True)
print("in a buffer")
"""
COMPLETE = "".join(f"{turn} after_fetch\n{turn} after_send\n" for turn in (1, 2, 3)) + "in a buffer\ncleaned up\n"


def start(armed: str | None) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if armed is not None:
        environment[VARIABLE] = armed
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, crash_points.__file__],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_process_dies_where_it_was_told_to_and_nowhere_else() -> None:
    cases = {"after_fetch": 0, "after_send": 1, "after_send:2": 3, "after_commit": None, None: None}
    processes = {armed: start(armed) for armed in cases}
    for armed, lines_before in cases.items():
        written, complaint = processes[armed].communicate(timeout=30)
        assert complaint == ""
        if lines_before is None:
            assert processes[armed].returncode == 0
            assert written == COMPLETE
        else:
            assert processes[armed].returncode == 137
            assert len(written.splitlines()) == lines_before


@pytest.mark.parametrize("armed", ["after_sent", "after_send:soon"])
def test_a_point_that_does_not_exist_is_refused_since_a_test_would_wait_for_it_for_ever(armed: str) -> None:
    process = start(armed)
    _, complaint = process.communicate(timeout=30)
    assert process.returncode not in (0, 137)
    assert VARIABLE in complaint


def test_nothing_happens_where_nothing_is_armed() -> None:
    assert VARIABLE not in os.environ
    for point in CRASH_POINTS:
        crash_point(point)


def test_every_point_can_be_named() -> None:
    assert get_args(CrashPoint) == CRASH_POINTS
    assert len(set(CRASH_POINTS)) == 7
