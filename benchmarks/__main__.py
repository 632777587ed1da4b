"""``python -m benchmarks``: one table from one run."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import logging
import os
import statistics
import sys
from collections.abc import AsyncIterator

from rich.console import Console
from rich.table import Table

from benchmarks import database, latency
from benchmarks.load import OUTPUTS, make_topics, preload
from benchmarks.measure import Figure, run
from streams.sandbox import Cluster

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


async def throughput(bench: Bench, payments: int, rounds: int) -> Table:
    """Everything against the limit, in turn, several times: the machine's speed drifts."""
    await bench.load(4, payments)
    programs = {
        "plain aiokafka loop, one transaction a poll (the limit)": bench.limit,
        "paystream, exactly once": bench.paystream,
        "paystream, at least once": lambda: bench.paystream("at_least_once"),
        "paystream, at most once": lambda: bench.paystream("at_most_once"),
        "plain Faust agent, await topic.send (loses on failure)": lambda: bench.vanilla(count=payments // 8),
    }
    figures: dict[str, list[Figure]] = {name: [] for name in programs}
    for round_number in range(1, rounds + 1):
        for name, program in programs.items():
            figures[name].append(await program())
            bench.say(f"round {round_number} of {rounds}: {name}: {figures[name][-1].per_second:,.0f} a second")
    rates = {name: statistics.median(f.per_second for f in values) for name, values in figures.items()}
    limit, *_, vanilla = rates.values()
    table = Table("program", "payments/s", "µs each", "of the limit", "times plain Faust", "all runs")
    for name, rate in rates.items():
        runs = " · ".join(f"{figure.per_second:,.0f}" for figure in figures[name])
        table.add_row(name, f"{rate:,.0f}", f"{1e6 / rate:.1f}", f"{rate / limit:.2f}", f"{rate / vanilla:.1f}", runs)
    table.title = f"Throughput: {payments:,} payments, 4 partitions, 4 outputs each, median of {rounds}"
    return table


async def batch_sizes(bench: Bench, payments: int) -> Table:
    """What a payment costs when a transaction holds 1 to 10,000 of them."""
    table = Table("records in a batch", "payments/s", "µs each")
    table.title = "Exactly once: cost by batch size, 4 partitions"
    for size, share in ((1, 200), (10, 40), (100, 8), (1_000, 1), (10_000, 1)):
        count = payments // share
        figure = await bench.paystream(count=count, PAYSTREAM_DELIVERY__MAX_BATCH_RECORDS=size)
        table.add_row(f"{size:,}", f"{figure.per_second:,.0f}", f"{figure.microseconds:,.1f}")
        bench.say(f"batches of {size}: {figure.per_second:,.0f} a second")
    return table


async def partition_counts(bench: Bench, payments: int) -> Table:
    """What a payment costs when there are more or fewer lanes."""
    table = Table("partitions", "payments/s", "µs each")
    table.title = "Exactly once: cost by number of partitions"
    for partitions in (1, 4, 16):
        await bench.load(partitions, payments)
        figure = await bench.paystream()
        table.add_row(str(partitions), f"{figure.per_second:,.0f}", f"{figure.microseconds:,.1f}")
        bench.say(f"{partitions} partitions: {figure.per_second:,.0f} a second")
    return table


async def light_load(bench: Bench) -> Table:
    """How long one payment takes when there is little to do."""
    await bench.load(4, 4)
    await make_topics(bench.bootstrap, OUTPUTS, 4)
    async with bench.worker():
        taken = await latency.measure(bench.bootstrap, TOPIC, OUTPUTS[0])
    table = Table("median", "95 %", "worst")
    table.title = "Exactly once: from append to committed output, one payment at a time"
    table.add_row(*(f"{value:.1f} ms" for value in (taken.median, taken.p95, taken.worst)))
    return table


async def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--payments", type=int, default=200_000, help="payments in a run (default: %(default)s)")
    parser.add_argument("--only-effects", action="store_true", help="only what the agents behind the payments cost")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each program (default: %(default)s)")
    arguments = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    console = Console()
    console.print("Starting an Apache Kafka to measure on …")
    async with Cluster(benchmark=True, properties={"log.segment.delete.delay.ms": "1000"}) as cluster:
        bench = Bench(cluster.bootstrap_servers, console)
        tables = []
        if not arguments.only_effects:
            tables.append(await throughput(bench, arguments.payments, arguments.rounds))
            tables.append(await batch_sizes(bench, arguments.payments))
            tables.append(await partition_counts(bench, arguments.payments))
            tables.append(await light_load(bench))
        tables.append(await database.effects(bench, arguments.payments // 4))
    for table in tables:
        console.print(table)


if __name__ == "__main__":
    asyncio.run(main())
