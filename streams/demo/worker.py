"""A real worker process: ``faust -A streams.app worker``."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from streams.failure.errors import PaystreamError
from streams.sandbox.process import spawn, terminate, wait_for_end

# Longer than its lanes need to finish (delivery.stop_timeout) and the group to be left.
_STOP_SECONDS: Final = 10.0
# Fits on a screen and holds the critical line with the reason and its trace.
_TAIL_LINES: Final = 15


class Worker:
    """Runs for as long as the ``async with`` block lasts, and dies with this process in any case.

    Arguments:
        log: file that takes what it says.
        environment: with its settings.
    """

    def __init__(self, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Worker:
        command = [sys.executable, "-m", "faust", "-A", "streams.app", "worker", "--loglevel", "info"]
        self._process = spawn(command, self.log, self._environment)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        await terminate(self._process, _STOP_SECONDS)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    async def death(self) -> PaystreamError:
        """Wait until it ends by itself; say with which status and what it said last."""
        assert self._process is not None
        await wait_for_end(self._process, math.inf)
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return PaystreamError(
            f"the worker ended with status {self._process.returncode}. The end of its log, {self.log}:\n\n"
            + "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])
        )
