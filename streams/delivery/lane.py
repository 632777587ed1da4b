"""A lane: one partition's worker, from fetching a batch to committing it.

Start: the partition is paused; connect the producer, which fences a former owner and settles its open
transaction; only then read the committed offset, seek there and resume. Run: fetch, hand the batch to
the agent, wait, commit. The lane also does the waiting that is nobody's work: an agent's actor is free
while a batch backs off or commits, so one stalled partition does not starve the others.

A lane that fails is never repaired in place: it reports, and the process ends.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalOperation,
    InvalidProducerEpoch,
    KafkaError,
    ProducerFenced,
)
from async_timeout import timeout

from streams.delivery.batch import Batch, Done, Rules, Settled, Verdict
from streams.delivery.channel import Handoff
from streams.delivery.crash_points import crash_point
from streams.delivery.guarantee import Finisher
from streams.delivery.meter import Meter
from streams.delivery.record import Record
from streams.delivery.tolerant_records import read_tolerantly
from streams.failure.errors import (
    BrokerDeadlineExceeded,
    CommitOutcomeUnknown,
    LaneFenced,
    LaneWouldNotStop,
    MachineryFailure,
    PaystreamError,
)
from streams.failure.policy import Pause

logger = logging.getLogger(__name__)

# One fetch call; ends empty-handed on a quiet topic, so that the lane is seen to be alive.
_FETCH_SECONDS: Final = 1.0
# A commit in flight takes some milliseconds; more means that a broker is in trouble, and then the next
# owner settles it faster than we could.
_COMMIT_GRACE_SECONDS: Final = 1.0
# After cancellation a lane has at most an abort (2 s), a stop and a hard close (1 s each) to do.
_DEATH_SECONDS: Final = 5.0

_FENCED: Final = (ProducerFenced, InvalidProducerEpoch, IllegalOperation, CommitFailedError)
T = TypeVar("T")


class State(enum.Enum):
    """What a lane is doing."""

    STARTING = "starting"
    FETCHING = "fetching"
    HANDLING = "handling"
    WAITING = "waiting"
    FINISHING = "finishing"
    STOPPED = "stopped"


# Nothing is in hand in these, so a lane can be stopped at once.
_AT_REST: Final = (State.STARTING, State.FETCHING, State.WAITING)


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """Bounds of a lane.

    Attributes:
        records: most records in a batch.
        deadline: seconds that a step may wait for brokers.
    """

    records: int
    deadline: float


class Lane:
    """Moves the records of one partition through the agent.

    Arguments:
        source: the partition.
        consumer: the group's consumer; the lane alone reads and seeks its partition.
        group: the consumer group's name.
        finisher: this lane's alone.
        handoff: the agent's queue.
        rules: how to treat records.
        limits: bounds.
        meter: told what was fetched and committed.
        fail: called once with the reason if the lane cannot go on; it ends the process.
    """

    def __init__(
        self,
        source: TopicPartition,
        consumer: AIOKafkaConsumer,
        group: str,
        finisher: Finisher,
        handoff: Handoff,
        rules: Rules,
        limits: LaneLimits,
        meter: Meter,
        fail: Callable[[PaystreamError], None],
    ) -> None:
        self.source = source
        self.state = State.STARTING
        self._consumer = consumer
        self._group = group
        self._finisher = finisher
        self._handoff = handoff
        self._rules = rules
        self._limits = limits
        self._meter = meter
        self._fail = fail
        self._next_offset = 0
        self._batch: Batch | None = None
        self._stopping = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Lane {self._name} {self.state.value}>"

    @property
    def _name(self) -> str:
        return f"{self._group}:{self.source.topic}-{self.source.partition}"

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start working, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name=f"lane {self._name}")

    async def stop(self, grace: float) -> None:
        """Stop: finish the batch in hand if that takes at most `grace` seconds, and be dead afterwards.

        What could not be finished is delivered again to the partition's next owner.

        Raises:
            LaneWouldNotStop: the lane is still alive.
        """
        self._stopping = True
        task = self._task
        if task is None:
            return
        await self._settle_down(task, grace)
        task.cancel()
        await asyncio.wait({task}, timeout=_DEATH_SECONDS)
        if not task.done():
            raise LaneWouldNotStop(f"{self!r} did not stop within {grace + _DEATH_SECONDS:g} s")

    async def _settle_down(self, task: asyncio.Task[None], grace: float) -> None:
        """Wait until nothing is in hand, for as long as it is worth it."""
        give_up = time.monotonic() + grace
        committing_since: float | None = None
        while not task.done() and self.state not in _AT_REST:
            now = time.monotonic()
            if self.state is State.FINISHING:
                committing_since = committing_since or now
                remaining = committing_since + _COMMIT_GRACE_SECONDS - now
            else:
                remaining = give_up - now
            if remaining <= 0:
                return
            self._changed.clear()
            changed = asyncio.ensure_future(self._changed.wait())
            await asyncio.wait({changed, task}, timeout=remaining, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()

    def _enter(self, state: State) -> None:
        self.state = state
        self._changed.set()

    async def _run(self) -> None:
        try:
            await self._begin()
            while True:
                await self._work(await self._fetch())
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._report(error)
        finally:
            if self._batch is not None:
                self._batch.revoke()
            await self._finisher.close()
            self._enter(State.STOPPED)

    def _report(self, error: Exception) -> None:
        if self._stopping:
            # The partition's next owner settles whatever this was; the lane is ending anyway.
            logger.info("%s: %s while stopping", self._name, type(error).__name__)
            return
        if not isinstance(error, PaystreamError):
            failure: MachineryFailure = MachineryFailure(f"{self._name}: {_describe(error)}")
            failure.__cause__ = error
            error = failure
        self._fail(error)

    async def _begin(self) -> None:
        await self._in_time("connecting the producer", self._finisher.open())
        self._next_offset = await self._in_time("reading the committed offset", self._starting_offset())
        self._consumer.seek(self.source, self._next_offset)
        self._consumer.resume(self.source)
        logger.info("%s starts at offset %d", self._name, self._next_offset)

    async def _starting_offset(self) -> int:
        committed = await self._consumer.committed(self.source)
        first = (await self._consumer.beginning_offsets([self.source]))[self.source]
        if committed is None:
            return int(first)
        end = (await self._consumer.end_offsets([self.source]))[self.source]
        if first <= committed <= end:
            return int(committed)
        logger.error(
            "%s: the committed offset %d is outside of the log, which holds %d to %d: records were deleted by "
            "retention, or the topic was made anew. Going on at %d.",
            self._name, committed, first, end, first,
        )  # fmt: skip
        return int(first)

    # -- work ------------------------------------------------------------------------------------

    async def _fetch(self) -> Batch:
        self._enter(State.FETCHING)
        while True:
            try:
                fetched = await self._consumer.getmany(
                    self.source, timeout_ms=int(_FETCH_SECONDS * 1000), max_records=self._limits.records
                )
            except UnicodeDecodeError as error:
                read_tolerantly(self._consumer, self.source, self._next_offset, error)
                continue
            messages = fetched.get(self.source)
            self._meter.alive(self.source, self._consumer.highwater(self.source))
            if messages:
                break
        if messages[0].offset < self._next_offset:
            raise MachineryFailure(
                f"{self._name} was given offset {messages[0].offset} again after {self._next_offset}: "
                "the log was truncated or the topic made anew"
            )
        records: Sequence[Record] = [Record.of(message) for message in messages]
        batch = self._batch = Batch(records, self._rules)
        self._meter.fetched(self.source, len(records), records[-1].offset)
        crash_point("after_fetch")
        return batch

    async def _work(self, batch: Batch) -> None:
        """Bring a batch to its end, committing on the way whatever is settled before a wait."""
        self._enter(State.FINISHING)
        await self._in_time("accepting a batch", self._finisher.accept(batch.end))
        verdict: Verdict | None = None
        while not isinstance(verdict, Done):
            self._enter(State.HANDLING)
            verdict = await self._hand_over(batch)
            crash_point("after_handling")
            settled = batch.settle()
            if settled is not None:
                await self._finish(settled)
            if not isinstance(verdict, Done):
                await self._wait(batch, verdict)
        self._batch = None

    async def _hand_over(self, batch: Batch) -> Verdict:
        released = batch.offer()
        started = time.monotonic()
        self._handoff.put_nowait(batch)
        verdict = await released
        self._meter.handled(self.source, len(batch), time.monotonic() - started)
        return verdict

    async def _finish(self, settled: Settled) -> None:
        self._enter(State.FINISHING)
        started = time.monotonic()
        await self._in_time(
            "committing a batch", self._finisher.finish(settled.outputs, settled.next_offset), committing=True
        )
        self._next_offset = settled.next_offset
        self._meter.committed(self.source, settled, time.monotonic() - started)
        crash_point("after_commit")

    async def _wait(self, batch: Batch, verdict: Verdict) -> None:
        assert not isinstance(verdict, Done)
        self._enter(State.WAITING)
        self._meter.retrying(self.source)
        if isinstance(verdict, Pause):
            logger.warning("%s@%d waits for %s", self._name, self._next_offset, verdict.dependency)
        await asyncio.sleep(verdict.after)

    async def _in_time(self, doing: str, step: Any, *, committing: bool = False) -> Any:
        """Await a step that needs brokers, and say what its failure means."""
        try:
            async with timeout(self._limits.deadline):
                return await step
        except _FENCED as error:
            raise LaneFenced(
                f"{self._name} lost its partition to another worker while {doing}; nothing of it was committed"
            ) from error
        except asyncio.TimeoutError as error:
            late = CommitOutcomeUnknown if committing else BrokerDeadlineExceeded
            raise late(f"{self._name} had no answer for {self._limits.deadline:g} s while {doing}") from error
        except KafkaError as error:
            kind = CommitOutcomeUnknown if committing else MachineryFailure
            raise kind(f"{self._name} failed while {doing}: {_describe(error)}") from error


def _describe(error: Exception) -> str:
    """Name a Kafka error with its text, which comes from the broker; of others, the class alone."""
    if isinstance(error, KafkaError):
        return f"{type(error).__name__} ({error})"
    return type(error).__name__
