"""The comparison from its beginning to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from streams.compare.in_process import InProcess
from streams.compare.outcome import Comparison, Outcome, Way
from streams.compare.pipeline import Pipeline, World
from streams.compare.plan import DELAY, Faults, Order, choose_faults, read_orders
from streams.compare.shop import require_example
from streams.demo.run import AGENT, unless
from streams.demo.screen import Screen
from streams.demo.surroundings import Place, demo_settings, folder_for_a_run
from streams.demo.watching import open_group
from streams.kafka.client_log import silent_clients
from streams.kafka.topic_admin import apply_topics
from streams.kafka.topic_reader import partitions_of
from streams.sandbox import Cluster
from streams.sandbox.lock import load_lock
from streams.topics import OUTPUTS, PAYMENT_COMPLETED, dead_letter_topic, declared_topics

SYNCHRONOUS = "in-process"
ASYNCHRONOUS = "in-process, @Async"
PAYSTREAM = "paystream"


@dataclass(frozen=True, slots=True)
class _Plan:
    orders: list[Order]
    faults: Faults
    folder: Path


async def compare_ways(path: Path, screen: Screen) -> Comparison:
    """Run all ways on the orders of a file; whatever happens, nothing that was started stays behind.

    Raises:
        PaystreamError: something ended or failed on the way.
    """
    require_example()
    orders = read_orders(path)
    with folder_for_a_run("compare") as folder:
        plan = _Plan(orders, choose_faults(orders), folder)
        variants = (
            InProcess(SYNCHRONOUS, folder / "synchronous", orders),
            InProcess(ASYNCHRONOUS, folder / "asynchronous", orders, "--asynchronous"),
        )
        old = await _old_ways(plan, variants, screen)
        sample = _sample(orders, [way.killed.outcome for way in old])
        old = [variant.with_trail(way, sample) for variant, way in zip(variants, old, strict=True)]
        async with _kafka(screen) as (cluster, world):
            with silent_clients():
                working = _paystream(plan, world, sample, screen)
                ours = await unless(working, cluster.wait_for_a_death())
    return Comparison(len(orders), DELAY * 1000, plan.faults.refused, sample, tuple(old), ours)


async def _old_ways(plan: _Plan, variants: tuple[InProcess, ...], screen: Screen) -> list[Way]:
    calm = []
    for variant in variants:  # one after the other: their times are measured
        with screen.step(f"{variant.name}: {len(plan.orders)} orders, one listener slow") as step:
            calm.append(await variant.calm(DELAY))
            step.done = f"{step.done}; then one listener more"
    with screen.step("in-process, both: a listener fails for some orders") as step:
        faulty = await asyncio.gather(*[variant.faulty(plan.faults) for variant in variants])
    with screen.step("in-process, both: the process is killed half-way, and started again") as step:
        killed = await asyncio.gather(*[variant.killed(DELAY) for variant in variants])
    return [variant.way(*runs) for variant, runs in zip(variants, zip(calm, faulty, killed, strict=True), strict=True)]


async def _paystream(plan: _Plan, world: World, sample: str, screen: Screen) -> Way:
    pipeline = Pipeline(world, plan.folder / "paystream", plan.orders)
    with screen.step(f"paystream: {len(plan.orders)} orders, one listener slow") as step:
        calm, waited, newcomer = await pipeline.calm(DELAY)
        step.done = f"{step.done}; then one consumer more"
    with screen.step("paystream: a listener fails for some orders"):
        faulty = await pipeline.faulty(plan.faults)
    with screen.step("paystream: the worker is killed half-way, and started again"):
        killed = await pipeline.killed(DELAY)
    return Way(PAYSTREAM, calm, waited, faulty, killed, newcomer, pipeline.trail(sample))


@asynccontextmanager
async def _kafka(screen: Screen) -> AsyncIterator[tuple[Cluster, World]]:
    """Start Kafka with its topics, and stop it with the block."""
    with screen.step("starting Apache Kafka") as step:
        cluster = Cluster()
        await cluster.start()
        step.done = f"Apache Kafka {load_lock().kafka} is up, {cluster.bootstrap_servers}"
    try:
        settings = demo_settings(Place(cluster.bootstrap_servers, 1, 6066))
        await apply_topics(settings.kafka, declared_topics(settings))
        letters = dead_letter_topic(settings, PAYMENT_COMPLETED)
        partitions = await partitions_of(settings.kafka, (PAYMENT_COMPLETED, *OUTPUTS, letters))
        name = f"{settings.app_id}.{AGENT}"
        async with open_group(settings.kafka, name) as group:
            yield cluster, World(settings, partitions, letters, group, name)
    finally:
        await cluster.stop()


def _sample(orders: list[Order], killed: list[Outcome]) -> str:
    """Choose the order to look for: one that an old way lost when it was killed, if any."""
    lost = [order for outcome in reversed(killed) for order in outcome.incomplete()]
    return lost[0] if lost else orders[len(orders) // 2].id
