"""Deleting a lane's topic, and making another one of its name, at chosen points of the lane's life."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams.delivery import Outbox, Record
from streams.delivery.status import State
from streams.failure.errors import DependencyUnavailable, PermanentError, TransientError
from streams.settings import FailureSettings
from support.agent import Running
from support.kafka import make_anew, produce
from support.payments import Raw
from support.waiting import eventually

PATIENT = FailureSettings(
    backoff="fixed", initial_interval=0.05, max_retries=100_000, pause_interval=0.05, max_consecutive_dead_letters=1
)
"""Failing records are tried again until the topic was swapped; the second dead letter in a row halts."""


@dataclass(slots=True)
class Swap:
    """The one swap of a test.

    Attributes:
        servers: bootstrap address.
        topic: of one partition.
        last: the keys of the last records of the former topic; what is to happen happens to these.
        fresh: the records of the new topic.
        done: whether it has happened.
        reached: whether the lane has come to the point.
    """

    servers: str
    topic: str
    last: Sequence[bytes]
    fresh: Sequence[Raw]
    done: threading.Event = field(default_factory=threading.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def swap(self) -> None:
        """Delete the topic, make it anew, and write its records."""
        await make_anew(self.servers, self.topic)
        await produce(self.servers, self.topic, self.fresh)
        self.done.set()

    def swap_at_once(self) -> None:
        """Do so while this thread, and so every lane of it, stands still."""
        if not self.done.is_set():
            another = threading.Thread(target=lambda: asyncio.run(self.swap()))
            another.start()
            another.join()

    def concerns(self, record: Record) -> bool:
        """Tell whether a record is one of the last of the former topic, before the swap."""
        return record.key in self.last and not self.done.is_set()


Point = tuple[Callable[[Swap, Record], Awaitable[None]], Callable[[Swap, Running], Awaitable[None]]]
"""What a record meets before it is handled, and what the test does meanwhile."""


async def _nothing(swap: Swap, record: Record) -> None:
    """Let it pass."""


async def _hang(swap: Swap, record: Record) -> None:
    if swap.concerns(record):
        swap.reached.set()
        await eventually(swap.done.is_set, "the swap", every=0.01)


async def _fail(swap: Swap, record: Record) -> None:
    if swap.concerns(record):
        swap.reached.set()
        raise TransientError("later")


async def _be_down(swap: Swap, record: Record) -> None:
    if swap.concerns(record):
        swap.reached.set()
        raise DependencyUnavailable("something", "it is down")


async def _block(swap: Swap, record: Record) -> None:
    if swap.concerns(record):
        swap.swap_at_once()


async def _be_refused(swap: Swap, record: Record) -> None:
    if swap.concerns(record):
        raise PermanentError("never")


async def _once_consumed(swap: Swap, agent: Running) -> None:
    await agent.consumed()
    await swap.swap()


async def _once_reached(swap: Swap, agent: Running) -> None:
    await swap.reached.wait()
    await swap.swap()


async def _once_retrying(swap: Swap, agent: Running) -> None:
    await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.RETRYING, "the lane to back off")
    await swap.swap()


async def _once_paused(swap: Swap, agent: Running) -> None:
    await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.PAUSED, "the lane to pause")
    await swap.swap()


async def _once_halted(swap: Swap, agent: Running) -> None:
    await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.HALTED, "the lane to halt")
    await swap.swap()
    # Unless the group was rebalanced meanwhile, and the lane made anew with that.
    agent.source.resume(TopicPartition(swap.topic, 0))


async def _by_itself(swap: Swap, agent: Running) -> None:
    await eventually(swap.done.is_set, "the swap")


POINTS: dict[str, Point] = {
    "while fetching": (_nothing, _once_consumed),
    "while handling": (_hang, _once_reached),
    "while backing off": (_fail, _once_retrying),
    "while paused": (_be_down, _once_paused),
    "while the loop is blocked": (_block, _by_itself),
    "after a halt": (_be_refused, _once_halted),
}


def handler(swap: Swap, point: Point, handle: Callable[[Record, Outbox], Any]) -> Callable[..., Awaitable[None]]:
    """Make a handler whose records meet the point first."""

    async def meeting(record: Record, out: Outbox) -> None:
        await point[0](swap, record)
        handle(record, out)

    return meeting


def swap_before_the_commit(monkeypatch: Any, swap: Swap, offset: int) -> None:
    """Have the swap happen after the lane has asked which topic it is, and before the brokers take the offset."""
    commit, send = AIOKafkaConsumer.commit, AIOKafkaProducer.send_offsets_to_transaction

    async def committing(client: AIOKafkaConsumer, offsets: Any = None) -> None:
        if any(each.offset == offset for each in offsets.values()):
            swap.swap_at_once()
        await commit(client, offsets)

    async def sending(client: AIOKafkaProducer, offsets: Any, group: str) -> None:
        if any(each.offset == offset for each in offsets.values()):
            swap.swap_at_once()
        await send(client, offsets, group)

    monkeypatch.setattr(AIOKafkaConsumer, "commit", committing)
    monkeypatch.setattr(AIOKafkaProducer, "send_offsets_to_transaction", sending)
