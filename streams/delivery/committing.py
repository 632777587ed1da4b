"""Committing what a lane has settled: its finisher's steps, in time, and again while what they need is down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from aiokafka import TopicPartition

from streams.delivery.batch import Settled
from streams.delivery.crash_points import crash_point
from streams.delivery.guarantee import Finisher
from streams.delivery.opening import open_finisher
from streams.delivery.status import Standing, State
from streams.delivery.surroundings import Surroundings
from streams.delivery.waiting import Waiting
from streams.failure.errors import AgentContractBroken
from streams.kafka.broker_step import in_time

T = TypeVar("T")


class Committing:
    """Takes the steps of one lane's finisher.

    Arguments:
        name: the lane's, for messages.
        source: the partition.
        finisher: the lane's alone.
        standing: the lane's.
        waiting: how it waits for what is down.
        surroundings: the lane's.

    Attributes:
        finisher: as given.
        next_offset: the offset to go on at, as last committed; None before it is known.
        in_doubt: what is being committed; None if nothing is.
    """

    def __init__(
        self,
        name: str,
        source: TopicPartition,
        finisher: Finisher,
        standing: Standing,
        waiting: Waiting,
        surroundings: Surroundings,
    ) -> None:
        self.finisher = finisher
        finisher.progressed = standing.progressed
        self.next_offset: int | None = None
        self.in_doubt: Settled | None = None
        self._name = name
        self._source = source
        self._standing = standing
        self._waiting = waiting
        self._meter = surroundings.meter
        self._client = surroundings.consumer._client
        self._deadline = surroundings.limits.deadline

    async def begin(self) -> int | None:
        """Connect, which fences a former owner; only then return the committed offset, None if there is none."""
        opening = open_finisher(self.finisher, self._client, self._standing, self._deadline)
        await in_time(self._name, "connecting the producer", opening, None)
        return await self._reach("reading the committed offset", self.finisher.committed)

    async def accept(self, next_offset: int) -> None:
        """Say that a batch is about to be handled."""
        await self._in_time("accepting a batch", self.finisher.accept(next_offset))

    async def finish(self, settled: Settled) -> None:
        """Commit, or have it held until more has come.

        Raises:
            AgentContractBroken: it asks for effects, and nothing carries them out.
            EffectsDeclined: some of them must not happen; nothing was committed.
        """
        if settled.effects and not self.finisher.takes_effects:
            raise AgentContractBroken(
                f"{self._name}: its handler asks for effects, but nothing carries them out: app.batches(…, finish=…)"
            )
        self.in_doubt = settled
        await self._commit("committing a batch", lambda: self.finisher.finish(settled))
        self.in_doubt = None
        crash_point("after_commit")

    async def idle(self) -> None:
        """Nothing arrives: see that the topic is the same, and commit what is held, if it is due."""
        await self.finisher.topic.glance()
        if self.finisher.holding:
            await self._commit("committing what was held", self.finisher.idle)

    async def flush(self) -> None:
        """Commit what is held, due or not."""
        if self.finisher.holding:
            await self._commit("committing what was held", self.finisher.flush)

    async def close(self) -> None:
        """Close the finisher to the end, which is bounded: cancelled half-way, its producer would live on."""
        closing = asyncio.ensure_future(self.finisher.close())
        cancelled = False
        while not closing.done():
            try:
                await asyncio.wait({closing})
            except asyncio.CancelledError:
                cancelled = True
        closing.result()
        if cancelled:
            raise asyncio.CancelledError

    async def _commit(self, doing: str, step: Callable[[], Awaitable[Sequence[Settled]]]) -> None:
        self._standing.enter(State.FINISHING)
        started = time.monotonic()
        committed = await self._reach(doing, step, committing=True)
        self._standing.progressed()
        for settled in committed:
            self.next_offset = settled.next_offset
            self._meter.committed(self._source, settled, time.monotonic() - started)

    async def _reach(self, doing: str, step: Callable[[], Awaitable[T]], *, committing: bool = False) -> T:
        deadline = None if self.finisher.bounds_itself else self._deadline

        async def attempt() -> T:
            return await in_time(self._name, doing, step(), deadline, committing=committing)

        return await self._waiting.take(attempt)

    async def _in_time(self, doing: str, step: Awaitable[T]) -> T:
        return await in_time(self._name, doing, step, self._deadline)
