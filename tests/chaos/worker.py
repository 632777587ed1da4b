"""Workers of the obedient agent, and a supervisor that starts them again when they end."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.worker import ROOT, Worker, environment

from streams.sandbox.process import spawn

_HERE = Path(__file__).parent
_RESTART_SECONDS = 0.5

OPTIONS = {
    # Small batches commit often, so that progress can be seen.
    "DELIVERY__MAX_BATCH_RECORDS": "40",
    "FAILURE__BACKOFF": "fixed",
    "FAILURE__INITIAL_INTERVAL": "0.02",
    "FAILURE__PAUSE_INTERVAL": "0.3",
    "FAILURE__HANDLER_TIMEOUT": "1",
}


class ChaosWorker(Worker):
    """A worker of the obedient agent.

    Attributes:
        wanted: whether its supervisor starts it again when it ends.
    """

    def __init__(
        self,
        name: str,
        app_id: str,
        servers: str,
        folder: Path,
        variables: Mapping[str, str],
        options: Mapping[str, str],
    ) -> None:
        super().__init__(name, app_id, servers, folder, ["obedient"], {**OPTIONS, **options})
        self.wanted = False
        self._variables = dict(variables)

    def start(self, **options: str) -> ChaosWorker:
        """Start the process."""
        assert not self.running, f"{self.name} is running"
        self._log_offset = self.log.stat().st_size if self.log.exists() else 0
        paths = [str(ROOT), str(ROOT / "tests"), str(_HERE / "modules")]
        if "CHAOS_CLOCK_SHIFT" in self._variables:
            paths.append(str(_HERE / "clock"))
        self._process = spawn(
            [sys.executable, "-m", "faust", "-A", "streams.app", "worker", "--web-port", str(self.web_port),
             "--loglevel", "info"],
            self.log,
            {**environment({**self._settings, **options}), **self._variables, "PYTHONPATH": ":".join(paths)},
        )  # fmt: skip
        self.starts += 1
        self.wanted = True
        return self

    async def ready(self, seconds: float = 30.0) -> ChaosWorker:
        """Wait until it has been given its partitions, if any."""
        await super().ready(seconds)
        return self

    async def terminate(self, seconds: float = 30.0) -> int:
        """SIGTERM; wait for its end. It stays ended."""
        self.wanted = False
        return await super().terminate(seconds)


async def supervise(workers: Sequence[ChaosWorker], ends: Counter[int]) -> None:
    """Start those again that end, a moment later, and count how they ended."""
    due: dict[ChaosWorker, float] = {}
    while True:
        now = time.monotonic()
        for worker in list(workers):
            if worker.running or not worker.wanted:
                due.pop(worker, None)
            elif worker not in due:
                assert worker.status is not None
                ends[worker.status] += 1
                due[worker] = now + _RESTART_SECONDS
            elif now >= due[worker]:
                worker.start()
        await asyncio.sleep(0.05)
