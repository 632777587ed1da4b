"""A lane: one partition's worker, from fetching a batch to committing it.

Start: the partition is paused; connect the producer, which fences a former owner and settles its open
transaction; only then read the committed offset, seek there and resume. Run: fetch, hand the batch to
the agent, wait, commit. The lane also does the waiting that is nobody's work: an agent's actor is free
while a batch backs off or commits, so one stalled partition does not starve the others.

A lane that fails is never repaired in place: it reports, and the process ends, or, where nothing is in doubt,
the lane halts and another is made in its stead.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from aiokafka import TopicPartition

from streams.delivery.batch import Batch, Continue, Done, EffectsDeclined, Halt, Verdict
from streams.delivery.committing import Committing
from streams.delivery.crash_points import crash_point
from streams.delivery.fetching import Fetching
from streams.delivery.guarantee import Finisher
from streams.delivery.reader import PartitionReader
from streams.delivery.status import LaneStatus, Standing, State
from streams.delivery.surroundings import Surroundings
from streams.delivery.waiting import Waiting
from streams.failure.budget import DeadLetterBudget
from streams.failure.errors import BudgetExceeded, LaneHalted, LaneWouldNotStop, MachineryFailure, PaystreamError
from streams.failure.policy import Pause, Retry
from streams.kafka.broker_step import describe

logger = logging.getLogger(__name__)

# A commit in flight takes some milliseconds; more means that a broker is in trouble, and then the next
# owner settles it faster than we could.
_COMMIT_GRACE_SECONDS: Final = 1.0
# The last part of a grace, in which a batch that is not finished gives back what is handled of it.
_GIVE_BACK_SHARE: Final = 0.25
# After cancellation a lane has at most an abort (2 s), a stop and a hard close (1 s each) to do.
_DEATH_SECONDS: Final = 5.0

# Nothing is in hand in these, so a lane can be stopped at once.
_AT_REST: Final = (State.STARTING, State.FETCHING, State.RETRYING, State.PAUSED, State.HALTED)


class Lane:
    """Moves the records of one partition through the agent.

    Arguments:
        source: the partition.
        finisher: this lane's alone.
        surroundings: what it shares with its neighbours.
    """

    def __init__(self, source: TopicPartition, finisher: Finisher, surroundings: Surroundings) -> None:
        self.source = source
        self._around = surroundings
        self._standing = Standing()
        self._waiting = Waiting(self._standing, surroundings)
        self._committing = Committing(self._name, source, finisher, self._standing, self._waiting, surroundings)
        limits = surroundings.rules.budget
        self._budget = DeadLetterBudget(limits) if limits is not None else None
        self._batch: Batch | None = None
        self._accepted = False
        self._reader = PartitionReader(
            self._name, source, surroundings.consumer, surroundings.meter, surroundings.limits.records,
            finisher.topic.require,
        )  # fmt: skip
        self._fetching = Fetching(
            self._name, self._reader, self._committing, self._waiting, self._standing, surroundings
        )
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Lane {self._name} {self.state.value}>"

    @property
    def state(self) -> State:
        """What the lane is doing."""
        return self._standing.state

    @property
    def reason(self) -> str:
        """Why it waits or has halted; empty otherwise."""
        return self._standing.reason

    @property
    def _finisher(self) -> Finisher:
        return self._committing.finisher

    @property
    def _name(self) -> str:
        return f"{self._around.group}:{self.source.topic}-{self.source.partition}"

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
        give_back_at = give_up - _GIVE_BACK_SHARE * grace
        committing_since: float | None = None
        while not task.done() and not self._at_rest():
            now = time.monotonic()
            if self.state is State.FINISHING:
                committing_since = committing_since or now
                remaining = committing_since + _COMMIT_GRACE_SECONDS - now
            else:
                committing_since = None
                remaining = (give_back_at if now < give_back_at else give_up) - now
                if now >= give_back_at:
                    self._ask_back()
            if remaining <= 0:
                return
            self._standing.changed.clear()
            changed = asyncio.ensure_future(self._standing.changed.wait())
            await asyncio.wait({changed, task}, timeout=remaining, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()

    def _at_rest(self) -> bool:
        """Whether nothing is in hand; what the finisher holds is, and a fetch soon ends."""
        return self.state in _AT_REST and not (self.state is State.FETCHING and self._finisher.holding)

    def _ask_back(self) -> None:
        """The batch will not be finished in time: have what is handled of it committed at least."""
        if self._batch is not None and not self._finisher.commits_first:
            self._batch.give_back()

    def status(self) -> LaneStatus:
        """Say how the lane stands."""
        next_offset = self._committing.next_offset
        if next_offset is not None and not self._finisher.holding:
            next_offset = max(next_offset, self._reader.read_to or 0)
        return LaneStatus(
            self._around.group,
            self.source.topic,
            self.source.partition,
            self.state,
            next_offset,
            # While no broker says where the log ends, the last one's answer would look like no lag.
            None if self._reader.silent else self._around.meter.end_offset(self.source),
            self._standing.quiet_seconds,
            self.reason,
        )

    async def _run(self) -> None:
        halted: LaneHalted | None = None
        try:
            await self._begin()
            while (batch := await self._fetch()) is not None:
                await self._work(batch)
            await self._committing.flush()
        except asyncio.CancelledError:
            raise
        except LaneHalted as error:
            halted = error
        except Exception as error:
            self._report(error)
        finally:
            self._let_go()
            await self._committing.close()
            self._standing.enter(State.STOPPED)
        if halted is not None and not self._stopping:
            self._standing.enter(State.HALTED, str(halted))
            self._around.halted(self.source, halted)

    def _let_go(self) -> None:
        """Take the batch away from the agent; what at_most_once can no longer handle is counted as lost."""
        batch = self._batch
        if batch is None:
            return
        batch.revoke()
        if not self._finisher.commits_first or not self._accepted:
            return
        lost = len(batch) - batch.handled + batch.tally.consumed
        in_doubt = self._committing.in_doubt
        lost += in_doubt.tally.consumed if in_doubt is not None else 0
        if lost:
            logger.error("%s: %d records before offset %d are lost", self._name, lost, batch.end)
            self._around.meter.lost(lost)

    def _report(self, error: Exception) -> None:
        if self._stopping:
            # The partition's next owner settles whatever this was; the lane is ending anyway.
            logger.info("%s: %s while stopping", self._name, type(error).__name__)
            return
        if not isinstance(error, PaystreamError):
            failure = MachineryFailure(f"{self._name}: {describe(error)}")
            failure.__cause__ = error
            error = failure
        self._around.fail(error)

    async def _begin(self) -> None:
        self._committing.next_offset = await self._fetching.begin(await self._committing.begin())

    # -- work ------------------------------------------------------------------------------------

    async def _fetch(self) -> Batch | None:
        """Return the next batch; None if the lane is to stop."""
        records = await self._fetching.next(lambda: self._stopping)
        if not records:
            return None
        batch = self._batch = Batch(records, self._around.rules, self._budget)
        self._standing.progressed()
        crash_point("after_fetch")
        return batch

    async def _work(self, batch: Batch) -> None:
        """Bring a batch to its end, committing on the way whatever is settled before a wait."""
        self._standing.enter(State.FINISHING)
        self._accepted = False
        await self._committing.accept(batch.end)
        self._accepted = True
        verdict = await self._attempt(batch)
        while not isinstance(verdict, Done):
            if isinstance(verdict, Continue):
                if batch.asked_back:
                    return
                verdict = await self._attempt(batch)
                continue
            # What is settled is committed before a wait, also where it would be held until more has come.
            await self._committing.flush()
            if isinstance(verdict, Halt):
                raise BudgetExceeded(
                    f"{verdict.reason}. If it is not the records' fault, mend what is; then, or to go on all the "
                    f"same: paystream lanes resume {self.source.topic} {self.source.partition}"
                )
            if isinstance(verdict, Pause):
                probed = await self._waiting.probe(batch, verdict, lambda: self._hand_over(batch))
                verdict = await self._settle(batch, probed)
            else:
                verdict = await self._try_again(batch, verdict)
        self._batch = None

    async def _attempt(self, batch: Batch) -> Verdict:
        """Hand the batch over, and commit what the agent has settled of it."""
        return await self._settle(batch, await self._hand_over(batch))

    async def _settle(self, batch: Batch, verdict: Verdict) -> Verdict:
        """Commit what the agent has settled; a batch of which effects are declined is handed over once more."""
        while (settled := batch.settle()) is not None:
            try:
                await self._committing.finish(settled)
                batch.committed()
            except EffectsDeclined as declined:
                batch.decline(declined.errors)
                verdict = await self._hand_over(batch)
        return verdict

    async def _hand_over(self, batch: Batch) -> Verdict:
        self._standing.enter(State.HANDLING)
        self._standing.progressed()  # what it waited for before was not its doing
        released = batch.offer()
        started = time.monotonic()
        self._around.handoff.put_nowait(batch)
        verdict = await released
        self._around.meter.handled(self.source, len(batch), time.monotonic() - started)
        self._standing.progressed()
        crash_point("after_handling")
        return verdict

    async def _try_again(self, batch: Batch, retry: Retry) -> Verdict:
        self._standing.enter(State.RETRYING, f"a record failed; tried again after {retry.after:g} s")
        self._around.meter.retrying(self.source)
        await asyncio.sleep(retry.after)
        return await self._attempt(batch)
