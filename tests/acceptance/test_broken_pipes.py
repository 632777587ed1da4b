"""What shows its progress, piped into a process that has seen enough before it is done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE = 180.0


@pytest.mark.parametrize("name", ["demo", "compare"])
def test_whoever_stops_reading_ends_it_in_silence_and_nothing_is_left(name: str, tmp_path: Path) -> None:
    script = f"from streams.commands.{name} import {name}; {name}()"
    running = subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(tmp_path)}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stderr is not None
    try:
        # The box that it begins with has five lines, the first step's is the sixth.
        seen = subprocess.run(
            ["head", "-n", "6"], stdin=running.stdout, capture_output=True, text=True, timeout=PATIENCE
        ).stdout.splitlines()
        running.stdout.close()
        said = running.stderr.read()
        assert (running.wait(PATIENCE), said) == (1, "")
    finally:
        running.kill()
        running.wait()
        running.stderr.close()
    assert seen[5].startswith("✓")
    assert not list(tmp_path.iterdir())
