"""``python -m benchmarks``: one table from one run."""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics

from rich.console import Console
from rich.table import Table

from benchmarks import database, latency
from benchmarks.bench import TOPIC, Bench
from benchmarks.load import OUTPUTS, make_topics
from benchmarks.measure import Figure
from streams.sandbox import Cluster


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
