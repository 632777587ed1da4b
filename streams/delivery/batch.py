"""A batch: consecutive records of one partition, and how far their handling has come.

A batch is the unit of a transaction. An agent calls :meth:`Batch.handle`, which applies the handler to
one record after another under a savepoint, and gives the batch back to its lane with a verdict: done,
try again later, or wait for a dependency. The lane commits what is settled so far before it waits, so
records before a failing one are never held up by it.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from async_timeout import timeout

from streams.dead_letters.writing import Failure, Limits, Origin, dead_letter_headers, stub_headers
from streams.delivery.outbox import Outbox, Output, Tally
from streams.failure.budget import BudgetLimits, DeadLetterBudget
from streams.failure.errors import AgentContractBroken, HandlerTimeout, MachineryFailure, PermanentError, Skip
from streams.failure.policy import DeadLetter, FailurePolicy, Pause, Retry, culprit_of, decide
from streams.kafka.record import Record
from streams.settings.topics import DEAD_LETTER_ROOM

Handler = Callable[[Record, Outbox], "Awaitable[None] | None"]
"""What an agent applies to each record: a function or a coroutine function of (record, outbox)."""

# A handler that never waits would keep heartbeats and the other lanes from running for the whole batch;
# at some 20 µs a record, 128 records are 2.5 ms between two chances for everybody else.
_RECORDS_BETWEEN_YIELDS: Final = 128
# What is handled is committed at least this often, however slow the handlers: a full batch of calls that take
# 50 ms each would be 100 s, all of it repeated after a crash or a rebalance.
_SLICE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Rules:
    """How the batches of one agent are treated.

    Attributes:
        group: the agent's consumer group; named in its dead letters.
        policy: what to do when a handler fails.
        dead_letter_suffix: appended to a record's topic; None where there is no dead-letter topic and a
            record that will not succeed is counted as skipped (the agents that read dead letters).
        limits: on what a dead letter carries.
        max_output_bytes: largest record the brokers accept.
        budget: how many dead letters a partition may write before its lane halts; None for no limit.
    """

    group: str
    policy: FailurePolicy
    dead_letter_suffix: str | None
    limits: Limits
    max_output_bytes: int
    budget: BudgetLimits | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """Every record of the batch is settled."""


@dataclass(frozen=True, slots=True)
class Halt:
    """The dead-letter budget is spent: the next record must not be settled before somebody has looked."""

    reason: str


@dataclass(frozen=True, slots=True)
class Continue:
    """More records are left, and it was time to let the lane commit."""


Verdict = Done | Continue | Retry | Pause | Halt


@dataclass(frozen=True, slots=True)
class Settled:
    """The part of a batch that can be committed now."""

    outputs: list[Output]
    effects: list[Any]
    askers: list[int]
    """Of each effect, the offset of the record that asks for it."""
    first_offset: int
    """Of the first record that is part of it."""
    next_offset: int
    """The offset to commit: of the first record that is not settled."""
    tally: Tally


class EffectsDeclined(Exception):
    """Raised by what finishes batches: effects of some records must not happen, and nothing was committed.

    Their lane has all that is not committed handled again, and these records fail: they become dead letters as if
    their handlers had raised the errors, with all that this brings. Nothing that they asked for or emitted happens.

    Arguments:
        errors: why, by the records' offsets.
    """

    def __init__(self, errors: Mapping[int, PermanentError]) -> None:
        super().__init__(f"effects of {len(errors)} records must not happen")
        self.errors = errors


class Batch:
    """Records of one partition on their way through an agent.

    Arguments:
        records: consecutive records of one partition, at least one.
        rules: how to treat them.
        budget: the partition's dead-letter budget; None for no limit.
    """

    __slots__ = (
        "_attempt",
        "_budget",
        "_budget_before",
        "_cursor",
        "_declined",
        "_failed_since",
        "_first_failed_at",
        "_give_back",
        "_outbox",
        "_paused_since",
        "_released",
        "_revoked",
        "_settled_from",
        "_settled_until",
        "_tally",
        "_verdict",
        "offers",
        "records",
        "rules",
    )

    def __init__(self, records: Sequence[Record], rules: Rules, budget: DeadLetterBudget | None = None) -> None:
        self.records = records
        self.rules = rules
        self._budget = budget
        self._outbox = Outbox(rules.max_output_bytes, rules.max_output_bytes + DEAD_LETTER_ROOM)
        self._tally = Tally()
        self._cursor = 0
        self._settled_from = 0
        self._settled_until = 0
        self._budget_before = budget.state() if budget is not None else None
        self._declined: dict[int, PermanentError] = {}
        self._attempt = 0
        self._failed_since = 0.0
        self._first_failed_at = 0.0
        self._paused_since: float | None = None
        self._verdict: Verdict | None = None
        self._released: asyncio.Future[Verdict] | None = None
        self._revoked = False
        self._give_back = False
        self.offers = 0
        """How often the batch was handed to the agent."""

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        first, last = self.records[0], self.records[-1]
        return f"<Batch {first.topic}-{first.partition}@{first.offset}..{last.offset}>"

    # -- the agent's side ------------------------------------------------------------------------

    async def handle(self, handler: Handler) -> Batch:
        """Apply `handler` to the records that are not settled yet, and give the batch back to its lane.

        Never raises for a failing record: its outputs are taken back and the failure policy decides.
        A batch whose partition has been taken away is passed over.

        Returns:
            the batch itself, so that an agent can ``yield await batch.handle(handler)``.

        Raises:
            AgentContractBroken: the batch has been given back already: one batch, one handler.
        """
        if self._released is not None and self._verdict is not None and not self._revoked:
            raise AgentContractBroken(f"{self!r} was handled twice: a batch is given back by its first handler")
        try:
            verdict = await self._apply(handler)
        except BaseException as error:
            self._break(error)
            raise
        self._release(verdict)
        return self

    async def _apply(self, handler: Handler) -> Verdict:
        if self._declined:
            handler = _declining(handler, self._declined)
        asynchronous = inspect.iscoroutinefunction(handler)
        records, outbox, limit = self.records, self._outbox, self.rules.policy.handler_timeout
        slice_ends = time.monotonic() + _SLICE_SECONDS
        while self._cursor < len(records) and not self._revoked:
            if not self._cursor % _RECORDS_BETWEEN_YIELDS:
                await asyncio.sleep(0)
            record = records[self._cursor]
            savepoint = outbox.open(record)
            try:
                if asynchronous:
                    await _within(limit, handler(record, outbox))
                else:
                    returned = handler(record, outbox)
                    if returned is not None:
                        await _within(limit, returned)
            except Skip as skip:
                outbox.rollback(savepoint)
                self._tally.skipped[skip.reason] += 1
                if self._budget is not None:
                    self._budget.passed()
            except Exception as error:
                outbox.rollback(savepoint)
                verdict = self._judge(record, error)
                if verdict is not None:
                    outbox.close()
                    return verdict
            else:
                self._tally.processed += 1
                if self._budget is not None:
                    self._budget.passed()
            self._cursor += 1
            self._attempt = 0
            if (self._give_back or time.monotonic() >= slice_ends) and self._cursor < len(records):
                outbox.close()
                return Continue()
        outbox.close()
        return Done()

    def _judge(self, record: Record, error: Exception) -> Verdict | None:
        """Ask the policy and the budget; None means that the record is settled, in the dead-letter topic."""
        now = time.monotonic()
        if self._attempt == 0:
            self._failed_since, self._first_failed_at = now, time.time()
        elif self._paused_since is not None:
            # Neither is the time spent waiting for a dependency: an outage is not a poison pill.
            self._failed_since += now - self._paused_since
        self._paused_since = None
        self._attempt += 1
        decision = decide(error, self._attempt, now - self._failed_since, self.rules.policy, random=random.random)
        if isinstance(decision, DeadLetter):
            overspent = self._budget.spend(culprit_of(error)) if self._budget is not None else None
            if overspent is not None:
                return Halt(f"{overspent}; the next would be for: {decision.reason}")
            self._dead_letter(record, error, decision)
            return None
        if isinstance(decision, Pause):
            # Waiting for a dependency is not the record's doing: it uses up no attempt.
            self._attempt -= 1
            self._paused_since = now
        return decision

    def _dead_letter(self, record: Record, error: Exception, decision: DeadLetter) -> None:
        if self.rules.dead_letter_suffix is None:
            self._tally.skipped[decision.stage.value] += 1
            return
        origin = Origin(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            timestamp_ms=record.timestamp,
            timestamp_type=record.timestamp_kind,
            consumer_group=self.rules.group,
        )
        failure = Failure(
            error=error,
            stage=decision.stage,
            disposition=decision.disposition,
            attempts=self._attempt,
            first_failed_at=self._first_failed_at,
            failed_at=time.time(),
        )
        limits = self.rules.limits
        headers = dead_letter_headers(record.headers, origin, failure, limits)
        self._outbox.dead_letter(
            record.topic + self.rules.dead_letter_suffix,
            headers,
            lambda left_out: stub_headers(len(record.value or b""), origin, failure, limits, left_out),
        )
        self._tally.dead_letters[decision.stage.value] += 1

    # -- the lane's side -------------------------------------------------------------------------

    @property
    def end(self) -> int:
        """The offset after the last record."""
        return self.records[-1].offset + 1

    @property
    def released(self) -> bool:
        """Whether the agent is done with the batch, for now or for good."""
        return self._verdict is not None or self._revoked

    @property
    def outputs(self) -> list[Output]:
        """What the settled records emitted and no transaction has taken yet; for tests of agents."""
        return self._outbox.outputs

    @property
    def effects(self) -> list[Any]:
        """What the settled records asked for and nothing has carried out yet; for tests of agents."""
        return self._outbox.effects

    @property
    def tally(self) -> Tally:
        """How the records settled since the last commit ended."""
        return self._tally

    def offer(self) -> asyncio.Future[Verdict]:
        """Make the batch ready for the agent and return the future of its verdict."""
        self._verdict = None
        self.offers += 1
        self._released = asyncio.get_running_loop().create_future()
        return self._released

    def settle(self) -> Settled | None:
        """Take what is settled and not yet committed; None if nothing is."""
        if self._cursor == self._settled_until:
            return None
        first_offset = self.records[self._settled_until].offset
        self._settled_from, self._settled_until = self._settled_until, self._cursor
        finished = self._cursor == len(self.records)
        next_offset = self.end if finished else self.records[self._cursor].offset
        tally, self._tally = self._tally, Tally()
        return Settled(*self._outbox.drain(), first_offset, next_offset, tally)

    def committed(self) -> None:
        """What was taken by :meth:`settle` is finished: it is not handled again."""
        self._settled_from = self._settled_until
        if self._budget is not None:
            self._budget_before = self._budget.state()

    def decline(self, errors: Mapping[int, PermanentError]) -> None:
        """Go back to before what was taken by :meth:`settle` last: some of its records are to fail instead.

        Arguments:
            errors: why they fail, by their offsets.
        """
        unknown = errors.keys() - {record.offset for record in self.records[self._settled_from : self._settled_until]}
        if unknown or not errors.keys() - self._declined.keys():
            raise AgentContractBroken(f"{self!r}: declined are effects that nobody has asked for: {sorted(errors)}")
        self._declined.update(errors)
        self._cursor = self._settled_until = self._settled_from
        self._attempt, self._paused_since = 0, None
        if self._budget is not None and self._budget_before is not None:
            self._budget.restore(self._budget_before)

    def give_back(self) -> None:
        """Ask the agent to give the batch back after the record in hand."""
        self._give_back = True

    @property
    def asked_back(self) -> bool:
        """Whether :meth:`give_back` was called."""
        return self._give_back

    @property
    def handled(self) -> int:
        """How many records are settled, committed or not."""
        return self._cursor

    def revoke(self) -> None:
        """The partition is no longer ours: no further record is handed to the handler."""
        self._revoked = True

    def _release(self, verdict: Verdict) -> None:
        self._verdict = verdict
        if self._released is not None and not self._released.done():
            self._released.set_result(verdict)

    def _break(self, error: BaseException) -> None:
        """The agent was torn away while it had the batch in hand.

        The lane must not be given a CancelledError: it would take it for its own.
        """
        if self._released is not None and not self._released.done():
            if isinstance(error, MachineryFailure):
                broken: MachineryFailure = error
            else:
                broken = AgentContractBroken(f"the agent left {self!r} unfinished: {type(error).__name__}")
                broken.__cause__ = error
            self._released.set_exception(broken)
            # Without this, a batch that was revoked meanwhile would warn that nobody looked.
            self._released.exception()


def _declining(handler: Handler, errors: Mapping[int, PermanentError]) -> Handler:
    """Have the records fail whose effects were declined; all others are handled as they were."""

    def declining(record: Record, out: Outbox) -> Awaitable[None] | None:
        declined = errors.get(record.offset)
        if declined is not None:
            raise declined
        return handler(record, out)

    return declining


async def _within(limit: float, awaitable: Awaitable[None] | None) -> None:
    """Await a handler for at most `limit` seconds.

    Raises:
        HandlerTimeout: it took longer and was cancelled.
    """
    if awaitable is None:
        return
    try:
        async with timeout(limit) as deadline:
            await awaitable
    except asyncio.TimeoutError as error:
        if not deadline.expired:
            raise
        raise HandlerTimeout(f"the handler took longer than {limit:g} s") from error
