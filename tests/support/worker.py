"""Real ``faust worker`` processes that can be killed, frozen and started again."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streams.sandbox.process import free_ports, spawn
from streams.settings import PREFIX
from support.waiting import PATIENCE, eventually

ROOT = Path(__file__).resolve().parents[2]

KILLED = -signal.SIGKILL
CRASHED = 137
"""How a process ends that dies at a crash point."""
TRY_AGAIN = 75

_TAIL_LINES = 60
_ports: set[int] = set()
"""Those of all workers so far."""


class Worker:
    """One worker process, with its settings in the environment and its log in a file.

    Arguments:
        name: of the log file.
        app_id: PAYSTREAM_APP_ID.
        servers: bootstrap address.
        folder: for the log.
        agents: modules; the last part of each name must be its agent's.
        options: further settings, without the prefix.
    """

    def __init__(
        self, name: str, app_id: str, servers: str, folder: Path, agents: Sequence[str], options: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.web_port = _port_of_its_own()
        self.starts = 0
        self._groups = [f"{app_id}.{agent.rpartition('.')[2]}" for agent in agents]
        self._settings = {
            "APP_ID": app_id,
            "AGENTS": ",".join(agents),
            "KAFKA__BOOTSTRAP_SERVERS": servers,
            # The shortest that a broker allows by default: a dead worker is missed soonest.
            "KAFKA__SESSION_TIMEOUT": "6",
            **options,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._log_offset = 0

    def start(self, **options: str) -> Worker:
        """Start the process; `options` are settings of this start alone."""
        assert not self.running, f"{self.name} is running"
        self._log_offset = self.log.stat().st_size if self.log.exists() else 0
        self._process = spawn(
            [sys.executable, "-m", "faust", "-A", "streams.app", "worker", "--web-port", str(self.web_port),
             "--loglevel", "info"],
            self.log,
            environment({**self._settings, **options}),
        )  # fmt: skip
        self.starts += 1
        return self

    async def ready(self, seconds: float = PATIENCE) -> Worker:
        """Wait until it has partitions of everything that its agents read."""

        def has_partitions() -> bool:
            if not self.running:
                raise AssertionError(f"{self.name} ended with {self.status} before it was ready:\n{self.tail()}")
            said = self.said()
            return all(f"{group} has partitions" in said for group in self._groups)

        await eventually(has_partitions, f"{self.name} to be ready", seconds=seconds, every=0.05)
        return self

    # -- what it is told -------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL; it is dead when this returns. Nothing happens if it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def terminate(self, seconds: float = PATIENCE) -> int:
        """SIGTERM; wait for its end and return its exit status."""
        self._send(signal.SIGTERM)
        return await self.ended(seconds)

    async def ended(self, seconds: float = PATIENCE) -> int:
        """Wait until it has ended, and return its exit status; negative is a signal's number."""
        await eventually(lambda: not self.running, f"{self.name} to end", seconds=seconds)
        assert self.status is not None
        return self.status

    def freeze(self) -> None:
        """SIGSTOP: it keeps its connections and does nothing."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        assert self.running, f"{self.name} ended with {self.status}:\n{self.tail()}"
        self._process.send_signal(number)

    def limit_files(self, soft: int, hard: int) -> Worker:
        """Let it have so many files open, before it has begun to."""
        assert self._process is not None
        resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        return self

    # -- what is known of it ---------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether the process is there; a frozen one is."""
        return self._process is not None and self._process.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status of the last process; None while it runs."""
        return None if self._process is None else self._process.poll()

    def open_files(self) -> int:
        """Count what it has open; nothing if it has ended."""
        assert self._process is not None
        try:
            return len(os.listdir(f"/proc/{self._process.pid}/fd"))
        except FileNotFoundError:
            return 0

    def said(self) -> str:
        """Everything that it has logged since its last start."""
        with self.log.open("rb") as file:
            file.seek(self._log_offset)
            return file.read().decode(errors="replace")

    def tail(self) -> str:
        """The end of its whole log."""
        if not self.log.exists():
            return "it said nothing"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])

    def fetch(self, path: str = "/") -> tuple[int, bytes]:
        """Return status and body of one of its web pages."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}{path}", timeout=PATIENCE) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read()

    def statistics(self) -> dict[str, Any]:
        """Return what its statistics page shows."""
        sensors: dict[str, dict[str, Any]] = json.loads(self.fetch()[1])
        (monitor,) = sensors.values()
        return monitor


def _port_of_its_own() -> int:
    """Find a free port that no other worker has been given: it is free until its worker has started."""
    while (port := free_ports(1)[0]) in _ports:
        pass
    _ports.add(port)
    return port


class Crew:
    """The workers of one test; whatever happens to it, none survives."""

    def __init__(self, servers: str, app_id: str, folder: Path) -> None:
        self.servers = servers
        self.app_id = app_id
        self.workers: list[Worker] = []
        self._folder = folder

    def group(self, agent: str = "payments") -> str:
        """The consumer group of an agent."""
        return f"{self.app_id}.{agent}"

    def hire(
        self, name: str, *, agents: Sequence[str] = ("agents.payments", "agents.dead_letters"), **options: str
    ) -> Worker:
        """Make a worker, not started; `options` are settings without their prefix."""
        worker = Worker(name, self.app_id, self.servers, self._folder, agents, options)
        self.workers.append(worker)
        return worker

    def dismiss(self) -> None:
        """End all of them."""
        for worker in self.workers:
            worker.kill()


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process with these settings and no others of ours.

    CRASH_AT and the like are settings too; PYTHONPATH leads to the agents that only tests have.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    ours = {PREFIX + name: value for name, value in settings.items()}
    paths = [str(ROOT), str(ROOT / "tests" / "acceptance" / "modules")]
    return {**inherited, **ours, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
