"""Runs the programs that are measured, one after another, on one broker."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import AsyncIterator

from rich.console import Console

from benchmarks.load import OUTPUTS, make_topics, preload
from benchmarks.measure import Figure, run

TOPIC = "payment.completed"
DEAD_LETTERS = "payment.completed.DLT"
_WORKER = [sys.executable, "-m", "faust", "-A", "streams.app", "--quiet", "worker", "--without-web"]
_runs = itertools.count(1)


class Bench:
    """Runs programs one after another on one broker."""

    def __init__(self, bootstrap: str, console: Console) -> None:
        self.bootstrap = bootstrap
        self.console = console
        self.partitions = 0
        self.count = 0

    async def load(self, partitions: int, count: int) -> None:
        """Make the input anew."""
        await make_topics(self.bootstrap, [TOPIC, DEAD_LETTERS], partitions)
        await preload(self.bootstrap, TOPIC, partitions, count)
        self.partitions, self.count = partitions, count

    async def paystream(self, guarantee: str = "exactly_once", *, count: int = 0, **settings: object) -> Figure:
        """A real worker with the payments agent."""
        name = f"bench{next(_runs)}"
        environment = {
            **self._environment(name),
            "PAYSTREAM_DELIVERY__GUARANTEE": guarantee,
            **{key: str(value) for key, value in settings.items()},
        }
        return await self._run(_WORKER, f"{name}.payments", environment=environment, count=count or self.count)

    @contextlib.asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        """A worker that runs while something else is measured."""
        environment = {**os.environ, **self._environment(f"bench{next(_runs)}")}
        process = await asyncio.create_subprocess_exec(*_WORKER, env=environment)
        try:
            yield
        finally:
            process.terminate()
            await process.wait()

    def _environment(self, name: str) -> dict[str, str]:
        return {
            "PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap,
            "PAYSTREAM_APP_ID": name,
            "PAYSTREAM_AGENTS": "agents.payments",
        }

    async def agent(self, agent: str, topic: str, count: int, **settings: object) -> Figure:
        """A real worker with another agent, which reads another topic."""
        name = f"bench{next(_runs)}"
        environment = {
            **self._environment(name),
            "PAYSTREAM_AGENTS": f"agents.{agent}",
            **{key: str(value) for key, value in settings.items()},
        }
        return await run(
            _WORKER,
            bootstrap=self.bootstrap,
            topic=topic,
            partitions=4,
            count=count,
            group=f"{name}.{agent}",
            environment=environment,
        )

    async def limit(self) -> Figure:
        """The plain loop."""
        group = f"bench{next(_runs)}"
        command = [sys.executable, "-m", "benchmarks.limit", self.bootstrap, group, TOPIC]
        return await self._run(command, group, count=self.count)

    async def vanilla(self, *, count: int) -> Figure:
        """Plain Faust."""
        group = f"bench{next(_runs)}"
        environment = {"BENCHMARK_GROUP": group, "BENCHMARK_BOOTSTRAP": self.bootstrap, "BENCHMARK_TOPIC": TOPIC}
        command = [sys.executable, "-m", "faust", "-A", "benchmarks.vanilla", "worker", "--without-web"]
        return await self._run(command, group, environment=environment, count=count, by_output=OUTPUTS[-1])

    async def _run(self, command: list[str], group: str, *, count: int, **options: object) -> Figure:
        await make_topics(self.bootstrap, OUTPUTS, self.partitions)
        return await run(
            command,
            bootstrap=self.bootstrap,
            topic=TOPIC,
            partitions=self.partitions,
            count=count,
            group=group,
            **options,  # type: ignore[arg-type]
        )

    def say(self, text: str) -> None:
        """Show that something is going on."""
        self.console.print(f"[dim]{text}[/]")
