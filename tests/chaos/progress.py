"""Watching how far a group has come, partition by partition, from the offsets that it commits."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.commit import OffsetFetchRequest

_EVERY = 0.1
# A broker that does not answer is frozen; asked again, it may be another one that is the coordinator.
_PATIENCE = 1.0


class Progress:
    """The committed offsets of a group, and when each was first seen.

    Every broker is asked by itself, over a connection of its own, so that one that is dead or frozen does
    not hide what the others know: only the group's coordinator has an answer.

    Arguments:
        servers: all brokers.
        group: the consumer group.
        topic: what it reads.
        partitions: of the topic.
    """

    def __init__(self, servers: str, group: str, topic: str, partitions: Iterable[int]) -> None:
        self.committed = dict.fromkeys(partitions, 0)
        self._steps: dict[int, list[float]] = defaultdict(list)
        self._servers = servers.split(",")
        self._watching = False
        self._request = OffsetFetchRequest(group, [(topic, list(self.committed))])

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Watch for as long as the block lasts."""
        self._watching = True
        tasks = [asyncio.create_task(self._watch(server)) for server in self._servers]
        try:
            yield
        finally:
            # wait_for, which aiokafka uses too, may swallow a cancellation: so they are told as well.
            self._watching = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def last(self, partition: int) -> float:
        """When the partition last moved, by the monotonic clock; 0 if it never has."""
        steps = self._steps[partition]
        return steps[-1] if steps else 0.0

    def stalls(self, since: float, until: float) -> dict[int, float]:
        """Return the longest time that each partition did not move, between two moments."""
        return {each: _longest_gap(self._steps[each], since, until) for each in self.committed}

    async def _watch(self, server: str) -> None:
        host, _, port = server.partition(":")
        while self._watching:
            with contextlib.suppress(KafkaError, OSError, asyncio.TimeoutError):
                connection = await asyncio.wait_for(create_conn(host, int(port), request_timeout_ms=1_000), _PATIENCE)
                try:
                    await self._ask(connection)
                finally:
                    connection.close()
            await asyncio.sleep(_EVERY)

    async def _ask(self, connection: AIOKafkaConnection) -> None:
        while self._watching:
            answer = await asyncio.wait_for(connection.send(self._request), _PATIENCE)
            now = time.monotonic()
            for _topic, partitions in answer.topics:
                for partition, offset, _metadata, error in partitions:
                    # A broker that was frozen may remember less than its successor has seen.
                    if not error and offset > self.committed[partition]:
                        self.committed[partition] = offset
                        self._steps[partition].append(now)
            await asyncio.sleep(_EVERY)


def _longest_gap(steps: Sequence[float], since: float, until: float) -> float:
    moments = [since, *(each for each in steps if since < each < until), until]
    return max(after - before for before, after in itertools.pairwise(moments))
