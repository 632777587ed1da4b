"""How a lane comes by its next records: where it begins, what it waits for, and what it cannot read.

A partition that no broker serves is waited for, however long. A batch that cannot be read halts the lane, behind all
that could be; if somebody has given it up, its offsets are committed as those of lost records.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from streams.delivery.batch import Settled
from streams.delivery.committing import Committing
from streams.delivery.outbox import Tally
from streams.delivery.reader import PartitionReader
from streams.delivery.status import Standing, State
from streams.delivery.surroundings import Surroundings
from streams.delivery.waiting import Waiting
from streams.failure.errors import BatchDamaged, DependencyUnavailable
from streams.kafka.broker_step import in_time
from streams.kafka.damage import DamagedBatch
from streams.kafka.record import Record

# The name is the lane's: who reads the log asks what happens to a partition.
logger: Final = logging.getLogger("streams.delivery.lane")

LOST: Final = "lost"
"""The reason under which records that were given up are counted as skipped."""


class Fetching:
    """How one lane comes by its records.

    Arguments:
        name: the lane's, for messages.
        reader: the lane's.
        committing: the lane's.
        waiting: the lane's.
        standing: the lane's.
        surroundings: the lane's.
    """

    def __init__(
        self,
        name: str,
        reader: PartitionReader,
        committing: Committing,
        waiting: Waiting,
        standing: Standing,
        surroundings: Surroundings,
    ) -> None:
        self._name = name
        self._reader = reader
        self._committing = committing
        self._waiting = waiting
        self._standing = standing
        self._meter = surroundings.meter
        self._damaged = surroundings.damaged
        self._deadline = surroundings.limits.deadline

    async def begin(self, committed: int | None) -> int:
        """Go to where the lane goes on, and return where that is; a partition that nobody serves is waited for."""
        return await self._waiting.take(
            lambda: in_time(self._name, "finding where to begin", self._reader.begin(committed), self._deadline)
        )

    async def next(self, stopping: Callable[[], bool]) -> list[Record]:
        """Return the next records; none if the lane is to stop, and then what was fetched is left to the next owner.

        Raises:
            BatchDamaged: they cannot be read; what was settled before them is committed.
        """
        self._standing.enter(State.FETCHING)
        while not stopping():
            records = await self._fetch()
            if stopping():
                break
            if records:
                return records
            if await self._reader.nothing_is_left():
                self._standing.progressed()
            await self._committing.idle()
            self._standing.enter(State.FETCHING)
        return []

    async def _fetch(self) -> list[Record]:
        try:
            # A fetch ends by itself; what it asks brokers for in between has their deadline.
            records = await self._waiting.take(self._fetch_in_time)
        except BatchDamaged as error:
            await self._heed(error)
            return []
        damaged = self._damaged.of(self._reader.source)
        if records and damaged is not None and records[-1].offset >= damaged.first_offset:
            self._damaged.passed(self._reader.source)  # it can be read after all
        return records

    async def _fetch_in_time(self) -> list[Record]:
        try:
            return await in_time(self._name, "fetching", self._reader.fetch(), self._deadline)
        except DependencyUnavailable:
            # A wait may be long: what is held until more has come is committed before it.
            await self._committing.flush()
            self._standing.enter(State.FETCHING)
            raise

    async def _heed(self, error: BatchDamaged) -> None:
        # Also what would be held until more has come: nothing will.
        await self._committing.flush()
        damaged = self._reader.damaged
        if damaged is None or not self._damaged.found(self._reader.source, damaged):
            raise error
        await self._pass_over(damaged)
        self._damaged.passed(self._reader.source)
        self._standing.enter(State.FETCHING)

    async def _pass_over(self, damaged: DamagedBatch) -> None:
        """Commit its offsets as any others, but for what it held: that is lost."""
        logger.error("%s: %s were given up, and are lost: %s", self._name, damaged, damaged.cause)
        tally = Tally(skipped=Counter({LOST: damaged.records}))
        self._meter.fetched(self._reader.source, damaged.records, damaged.next_offset - 1)
        self._standing.enter(State.FINISHING)
        await self._committing.accept(damaged.next_offset)
        await self._committing.finish(Settled([], [], [], damaged.first_offset, damaged.next_offset, tally))
        await self._committing.flush()
        self._reader.go_on_at(damaged.next_offset)
