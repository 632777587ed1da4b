"""The demo from its beginning to its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from aiokafka import TopicPartition

from streams.database.engine import Database
from streams.dead_letters.view import view_of
from streams.demo.account import Account, Source
from streams.demo.effects import Effects
from streams.demo.expected import Expected
from streams.demo.screen import Result, Screen
from streams.demo.surroundings import Place, demo_settings, folder_for_a_run, worker_environment
from streams.demo.watching import Sightings, last_offsets, open_group, readers_of, watch
from streams.demo.worker import Worker
from streams.demo.world import World
from streams.failure.errors import InputError, PaystreamError
from streams.invoices.event import CANCELLED, COMPLETED, ShopEvent
from streams.invoices.files import read_files
from streams.invoices.publishing import Publisher
from streams.kafka.client_log import silent_clients
from streams.kafka.clients import close_hard, make_producer
from streams.kafka.topic_admin import apply_topics
from streams.kafka.topic_reader import open_reader, partitions_of
from streams.notify.mailbox import Mailbox
from streams.sandbox import Cluster
from streams.sandbox.lock import load_lock
from streams.sandbox.process import free_ports
from streams.settings import KafkaSettings, Settings
from streams.topics import ORDER_EVENTS, OUTPUTS, dead_letter_topic, declared_topics

T = TypeVar("T")
U = TypeVar("U")

AGENT: Final = "payments"
"""Reads the orders that are paid."""

_NAMES: Final = {COMPLETED.topic: "paid orders", CANCELLED.topic: "cancellations"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for.

    Attributes:
        orders: file of invoices or events.
        what: the file in a few words, for the first line.
        brokers: how many.
        keep: stay up afterwards until cancelled.
        program: how the user calls ``paystream``.
    """

    orders: Path
    what: str
    brokers: int
    keep: bool
    program: str


async def run(plan: Plan, screen: Screen) -> None:
    """Run the demo; whatever happens, nothing that it started stays behind.

    Cancelling it while it stays up is the way to end it, and no failure.

    Raises:
        PaystreamError: something ended or failed on the way, or the numbers do not add up.
    """
    events = read_files([plan.orders]).events
    if not events:
        raise InputError(plan.orders, "holds no payment events")
    expected = Expected.of(events)
    screen.begin(plan.what)
    async with AsyncExitStack() as stack:
        cluster = await _start_kafka(plan, screen, stack)
        folder = stack.enter_context(folder_for_a_run("demo"))
        mailbox = await stack.enter_async_context(Mailbox())
        (web_port,) = free_ports(1)
        place = Place(cluster.bootstrap_servers, plan.brokers, web_port, folder, mailbox.port)
        settings = demo_settings(place)
        world = await _prepare(settings, screen, stack, mailbox, expected)
        worker = await stack.enter_async_context(Worker(folder / "worker.log", worker_environment(place)))
        working = _send_and_watch(plan, screen, settings, worker, world, events, expected)
        with silent_clients():  # they log each retry, as of a topic that has no leader yet
            result = await unless(working, cluster.wait_for_a_death(), worker.death())
        screen.show(result)
        if result.problems():
            raise PaystreamError(f"the numbers do not add up; the worker's log is {worker.log}")
        if plan.keep:
            screen.invite(result, settings, plan.program)
            with contextlib.suppress(asyncio.CancelledError):
                await unless(asyncio.Event().wait(), cluster.wait_for_a_death(), worker.death())
            screen.end()


async def _start_kafka(plan: Plan, screen: Screen, stack: AsyncExitStack) -> Cluster:
    with screen.step("starting Apache Kafka") as step:
        cluster = await stack.enter_async_context(Cluster(brokers=plan.brokers))
        brokers = f"{plan.brokers} brokers" if plan.brokers > 1 else "1 broker"
        step.done = f"Apache Kafka {load_lock().kafka} is up: {brokers}, {cluster.bootstrap_servers}"
    return cluster


async def _prepare(
    settings: Settings, screen: Screen, stack: AsyncExitStack, mailbox: Mailbox, expected: Expected
) -> World:
    with screen.step("creating topics and tables") as step:
        topics = declared_topics(settings)
        with silent_clients():  # a broker that has not heard of a topic yet is no news
            await apply_topics(settings.kafka, topics)
        database = Database(settings.database)
        stack.push_async_callback(database.close)
        world = World(database, mailbox.letters, Path(settings.platform.folder))
        await world.prepare(expected)
        step.done = (
            f"{len(topics)} topics of {settings.topics.partitions} partitions; {len(expected.customers)} customers and "
            f"the stock of {len(expected.moved):,} articles; a mailbox"
        )
    return world


async def _send_and_watch(
    plan: Plan,
    screen: Screen,
    settings: Settings,
    worker: Worker,
    world: World,
    events: list[ShopEvent],
    expected: Expected,
) -> Result:
    kafka = settings.kafka
    letters = {topic: dead_letter_topic(settings, topic) for topic in ORDER_EVENTS}
    sightings = Sightings(tuple(letters.values()))
    ends: asyncio.Future[dict[TopicPartition, int]] = asyncio.get_running_loop().create_future()
    async with AsyncExitStack() as stack:
        with screen.step("starting a worker") as step:
            partitions = await partitions_of(kafka, (*letters, *OUTPUTS, *letters.values()))
            reader = await stack.enter_async_context(open_reader(kafka, partitions))
            sources = [each for each in partitions if each.topic in letters]
            readers = await readers_of(f"http://{settings.web.bind}:{settings.web.port}", sources)
            groups = {name: await stack.enter_async_context(open_group(kafka, name)) for name in readers}
            for group in groups.values():
                await group.until_it_has_partitions()
            # Without somebody to stay up for, the log is gone before anybody could read it.
            log = f", log: {worker.log}" if plan.keep else ""
            step.done = f"a worker is ready (process {worker.pid}){log}"

        async def send() -> tuple[float, dict[TopicPartition, int]]:
            began = await _publish(screen, kafka, events)
            with screen.step("processing") as step:
                sightings.on_settled = lambda count: step.on_progress(f"processed {count} of {len(events)}")
                committed: dict[TopicPartition, int] = {}
                for name, group in groups.items():
                    committed |= await group.until_it_has_consumed(await last_offsets(kafka, readers[name]))
                ends.set_result(await last_offsets(kafka, partitions))
                await watching
                step.done = f"all {sightings.settled()} processed and committed, and every topic read again"
            return began, committed

        watching = asyncio.ensure_future(watch(reader, sightings, ends))
        (began, committed), _ = await together(send(), watching)
        with screen.step("waiting for stock, letters, figures and files") as step:
            effects = await world.settled(expected)
            if not effects.problems(expected):
                step.done = "stock moved, letters sent, sales counted, files written"
    return _result(sightings, letters, events, began, sightings.consumed(committed), effects, expected)


async def _publish(screen: Screen, kafka: KafkaSettings, events: list[ShopEvent]) -> float:
    """Publish the events and return when the first was sent, by ``time.monotonic()``."""
    producer = make_producer(kafka)
    try:
        await producer.start()
        with screen.step("publishing") as step:
            began = time.monotonic()
            await Publisher(producer, deadline=kafka.deadline).publish(events)
            step.done = f"{_named(events)} published, each confirmed by the brokers"
    except BaseException:
        await close_hard(producer)  # flushing would wait for brokers that may have gone
        raise
    await producer.stop()
    return began


def _named(events: list[ShopEvent]) -> str:
    kinds = Counter(event.kind.topic for event in events)
    return " and ".join(f"{kinds[topic]} {_NAMES.get(topic, topic)}" for topic in ORDER_EVENTS if kinds[topic])


def _result(
    sightings: Sightings,
    letters: Mapping[str, str],
    events: list[ShopEvent],
    began: float,
    consumed: int,
    effects: Effects,
    expected: Expected,
) -> Result:
    account = Account(
        sources=tuple(
            Source(
                topic,
                Counter(event.key.decode() for event in events if event.kind.topic == topic),
                dead,
                sightings.seen(dead),
            )
            for topic, dead in letters.items()
        ),
        consumed=consumed,
        outputs={topic: sightings.seen(topic) for topic in OUTPUTS},
    )
    return Result(
        account,
        [view_of(letter) for letter in sightings.letters],
        first_seconds=(sightings.first_at or began) - began,
        all_seconds=(sightings.last_at or began) - began,
        effects=effects,
        expected=expected,
    )


async def unless(work: Coroutine[Any, Any, T], *deaths: Coroutine[Any, Any, Exception]) -> T:
    """Return what the work returns, unless one of the deaths is reported before: then raise that.

    Everything that was started is over when this returns.
    """
    working = asyncio.ensure_future(work)
    dying = [asyncio.ensure_future(death) for death in deaths]
    try:
        await asyncio.wait({working, *dying}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise next(death for death in dying if death.done()).result()
    finally:
        for task in (working, *dying):
            task.cancel()
        await asyncio.gather(working, *dying, return_exceptions=True)


async def together(first: Coroutine[Any, Any, T], second: asyncio.Future[U]) -> tuple[T, U]:
    """Return both results; when one fails, end the other too and raise the failure."""
    tasks = (asyncio.ensure_future(first), second)
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
