"""paystream: the same shop publishes to Kafka, and a real worker tells the systems."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.compare.outcome import Kept, Killed, Newcomer, Outcome, Waited
from streams.compare.plan import Faults, Order
from streams.compare.shop import ROOT, Shop, orders_in
from streams.dead_letters.view import view_of
from streams.delivery import Record
from streams.demo.run import unless
from streams.demo.surroundings import Place, worker_environment
from streams.demo.watching import Group, last_offsets
from streams.demo.worker import Worker
from streams.failure.errors import PaystreamError
from streams.kafka.clients import client_options, close_consumer
from streams.kafka.topic_reader import open_reader
from streams.sandbox.process import free_ports
from streams.settings import PREFIX, Settings
from streams.topics import (
    ANALYTICS_SALES,
    INVENTORY_MOVEMENTS,
    NOTIFICATION_REQUESTS,
    PAYMENT_COMPLETED,
    PLATFORM_ORDERS,
)

TOPICS: Final = {
    "platform": PLATFORM_ORDERS,
    "notification": NOTIFICATION_REQUESTS,
    "inventory": INVENTORY_MOVEMENTS,
    "analytics": ANALYTICS_SALES,
}
"""Where each system reads."""

# The demo's agents, and the module that puts the faults before their handler.
_AGENTS: Final = "agents.payments,agents.dead_letters,examples.in_process_events.faulty_payments"
_PATIENCE: Final = 30.0
_POLL: Final = 0.02
_POLL_MS: Final = 100


@dataclass(frozen=True, slots=True)
class World:
    """The Kafka that the runs share.

    Attributes:
        settings: how to reach it.
        partitions: of all topics.
        dead_letter_topic: where the payments agent keeps what it gives up.
        group: the payments agent's.
        group_name: its name.
    """

    settings: Settings
    partitions: list[TopicPartition]
    dead_letter_topic: str
    group: Group
    group_name: str

    @property
    def servers(self) -> str:
        """Bootstrap address."""
        return self.settings.kafka.bootstrap_servers

    @property
    def sources(self) -> list[TopicPartition]:
        """Where the shop writes."""
        return [each for each in self.partitions if each.topic == PAYMENT_COMPLETED]

    async def ends(self) -> dict[TopicPartition, int]:
        """Return where all topics end now."""
        return await last_offsets(self.settings.kafka, self.partitions)

    async def settled(self) -> dict[TopicPartition, int]:
        """Wait until the worker has committed all that was published."""
        return await self.group.until_it_has_consumed(await last_offsets(self.settings.kafka, self.sources))

    async def records_since(self, begin: dict[TopicPartition, int]) -> list[Record]:
        """Read all topics from there to where they end now, as any ``read_committed`` consumer."""
        ends = await self.ends()
        async with open_reader(self.settings.kafka, self.partitions) as reader:
            for partition, offset in begin.items():
                reader.seek(partition, offset)
            async with contextlib.aclosing(reader.read_to(ends)) as records:
                return [record async for record in records]


class Pipeline:
    """The runs on one Kafka.

    Arguments:
        world: that Kafka.
        folder: for the runs.
        orders: all that customers pay for.
    """

    def __init__(self, world: World, folder: Path, orders: Sequence[Order]) -> None:
        self._world = world
        self._folder = folder
        self._orders = orders
        self._killed: list[Record] = []

    def _shop(self, run: str) -> Shop:
        return Shop(self._folder / run, ("--kafka", self._world.servers))

    @asynccontextmanager
    async def _worker(self, run: str, faults: Faults) -> AsyncIterator[Worker]:
        """Start a worker and wait until it has partitions; it ends with the block."""
        self._folder.mkdir(exist_ok=True)
        log = self._folder / f"worker-{run}.log"
        async with Worker(log, self._environment(run, faults)) as worker:
            dying = asyncio.ensure_future(worker.death())
            try:
                until = time.monotonic() + _PATIENCE
                while f"{self._world.group_name} has partitions" not in log.read_text(errors="replace"):
                    if dying.done():
                        raise dying.result()
                    if time.monotonic() > until:
                        raise PaystreamError(f"the worker has no partitions after {_PATIENCE:.0f} s; its log is {log}")
                    await asyncio.sleep(_POLL)
            finally:
                dying.cancel()
            yield worker

    def _environment(self, run: str, faults: Faults) -> dict[str, str]:
        (web_port,) = free_ports(1)
        return {
            **worker_environment(Place(self._world.servers, 1, web_port)),
            # As docs/operations.md advises: a worker that comes back takes up its partitions at once.
            f"{PREFIX}KAFKA__INSTANCE_ID": "compare-1",
            f"{PREFIX}AGENTS": _AGENTS,
            "PYTHONPATH": str(ROOT),
            **faults.variable(self._folder / f"faults-{run}.jsonl"),
        }

    async def calm(self, delay: float) -> tuple[Outcome, Waited, Newcomer]:
        """Take all orders, the last after a new consumer has come; nothing fails."""
        shop, begin = self._shop("calm"), await self._world.ends()
        async with self._worker("calm", Faults(delay)) as worker:
            newcomer = await unless(self._take_with_newcomer(shop), worker.death())
        outcome = self._outcome("calm", shop, await self._world.records_since(begin))
        return outcome, Waited.of(shop.waited()), newcomer

    async def _take_with_newcomer(self, shop: Shop) -> Newcomer:
        past, new = self._orders[:-1], self._orders[-1:]
        await shop.take(past)
        async with _consumer(self._world, "loyalty") as consumer:
            before = await _read_all(consumer, self._world)
            await shop.take(new)
            after = await _read_all(consumer, self._world)
        await self._world.settled()
        return Newcomer(len(past), sum(order.id in before for order in past), sum(order.id in after for order in new))

    async def faulty(self, faults: Faults) -> Outcome:
        """Take all orders while notifications fail for some."""
        shop, begin = self._shop("faulty"), await self._world.ends()
        async with self._worker("faulty", faults) as worker:
            await unless(self._take(shop), worker.death())
        return self._outcome("faulty", shop, await self._world.records_since(begin))

    async def _take(self, shop: Shop) -> None:
        await shop.take(self._orders)
        await self._world.settled()

    async def killed(self, delay: float) -> Killed:
        """Take all orders; kill the worker half-way, and start it again when the shop is through."""
        shop, begin = self._shop("killed"), await self._world.ends()
        async with self._worker("killed", Faults(delay)) as worker:
            taking = asyncio.ensure_future(shop.take(self._orders))
            try:
                await shop.until_paid(len(self._orders) // 2)
                os.kill(worker.pid, signal.SIGKILL)
                await worker.death()
                in_hand = await self._in_hand()
                await taking
            finally:
                taking.cancel()
                await asyncio.gather(taking, return_exceptions=True)
        restarted = time.monotonic()
        async with self._worker("restarted", Faults(delay)) as worker:
            await unless(self._world.settled(), worker.death())
            caught_up = time.monotonic() - restarted
        self._killed = await self._world.records_since(begin)
        return Killed(self._outcome("killed", shop, self._killed), in_hand, round(caught_up, 2))

    async def _in_hand(self) -> int:
        """Count the orders that are published and that the worker's group has not committed."""
        world = self._world
        consumer = AIOKafkaConsumer(
            **client_options(world.settings.kafka), group_id=world.group_name, enable_auto_commit=False
        )
        ends = await last_offsets(world.settings.kafka, world.sources)
        try:
            await consumer.start()
            consumer.assign(world.sources)
            return sum([end - (await consumer.committed(partition) or 0) for partition, end in ends.items()])
        finally:
            await close_consumer(consumer)

    def trail(self, order: str) -> tuple[str, ...]:
        """Say what the topics know of an order of the killed run: where it is, and what it followed from."""
        return tuple(trail_of(self._killed, order))

    def _outcome(self, run: str, shop: Shop, records: Sequence[Record]) -> Outcome:
        effects = {
            system: Counter(_order(record) for record in records if record.topic == topic)
            for system, topic in TOPICS.items()
        }
        kept = tuple(_kept(record) for record in records if record.topic == self._world.dead_letter_topic)
        struck = frozenset(orders_in(self._folder / f"faults-{run}.jsonl"))
        return Outcome(shop.paid(), effects, kept, struck)


def trail_of(records: Iterable[Record], order: str) -> list[str]:
    """Find an order's events by their CloudEvents headers alone, and say of each what it followed from."""
    found = []
    for record in sorted(records, key=lambda each: each.topic != PAYMENT_COMPLETED):
        headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
        if order not in (headers.get("ce_correlationid"), headers.get("ce_subject")):
            continue
        cause = headers.get("ce_causationid")
        follows = f", caused by {cause}" if cause else ""
        found.append(f"{_place(record)}: {headers.get('ce_id', 'no id')}{follows}")
    return found


def _kept(record: Record) -> Kept:
    letter = view_of(record)
    return Kept(_order(record), _place(record), letter.reason or "no reason", letter.attempts)


def _place(record: Record) -> str:
    return f"{record.topic}-{record.partition}@{record.offset}"


def _order(record: Record) -> str:
    return (record.key or b"").decode("utf-8", "backslashreplace")


@asynccontextmanager
async def _consumer(world: World, group: str) -> AsyncIterator[AIOKafkaConsumer]:
    """Open a consumer such as any team would add: a group of its own, from the beginning."""
    consumer = AIOKafkaConsumer(
        PAYMENT_COMPLETED,
        **client_options(world.settings.kafka),
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await close_consumer(consumer)


async def _read_all(consumer: AIOKafkaConsumer, world: World) -> Counter[str]:
    """Read what is there; return the orders."""
    ends = await last_offsets(world.settings.kafka, world.sources)
    orders: Counter[str] = Counter()
    until = time.monotonic() + _PATIENCE
    while not await _is_at(consumer, ends):
        for messages in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
            orders.update(message.key.decode() for message in messages)
        if time.monotonic() > until:
            raise PaystreamError(f"a new consumer has not read {PAYMENT_COMPLETED} within {_PATIENCE:.0f} s")
    return orders


async def _is_at(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    if consumer.assignment() != set(ends):
        return False
    return all([await consumer.position(partition) >= end for partition, end in ends.items()])
