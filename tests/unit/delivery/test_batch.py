from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.delivery import Batch, Handler, Outbox, Record, Skip
from streams.delivery import batch as batch_module
from streams.delivery.batch import Done, Halt, Rules, Settled, Verdict
from streams.delivery.outbox import Tally
from streams.failure.backoff import FixedBackOff
from streams.failure.budget import BudgetLimits, DeadLetterBudget
from streams.failure.errors import (
    AgentContractBroken,
    DependencyUnavailable,
    InvalidRecord,
    LaneFenced,
    TransientError,
)
from streams.failure.policy import FailurePolicy, Pause, Retry
from streams.testing import RULES, batch, record

POLICY = FailurePolicy(FixedBackOff(0.25, max_retries=2), max_elapsed=60, pause_interval=3, handler_timeout=5)
ORDERS = replace(RULES, group="shop.orders", policy=POLICY)


def orders(count: int, *, rules: Rules = ORDERS, step: int = 1) -> Batch:
    """A batch of `count` records at offsets 10, 10 + step, …; each value is its offset as text."""
    offsets = range(10, 10 + count * step, step)
    return batch(
        *(record(str(at).encode(), topic="orders", key=b"k%d" % at, partition=3, offset=at) for at in offsets),
        rules=rules,
    )


def copy(record: Record, out: Outbox) -> None:
    out.emit("copies", record.value)


class Failing:
    """A handler that copies each record and then, at given offsets, raises the errors it was given."""

    def __init__(self, errors: dict[int, list[BaseException]]) -> None:
        self.errors = errors
        self.seen: list[int] = []

    def __call__(self, record: Record, out: Outbox) -> None:
        self.seen.append(record.offset)
        copy(record, out)
        if self.errors.get(record.offset):
            raise self.errors[record.offset].pop(0)


async def attempt(batch: Batch, handler: Handler) -> Verdict:
    """What a lane and an agent do together once."""
    released = batch.offer()
    assert await batch.handle(handler) is batch
    return await released


def settle(batch: Batch) -> Settled:
    settled = batch.settle()
    assert settled is not None
    return settled


def copied(settled: Settled) -> list[int]:
    return [int(output.value or b"") for output in settled.outputs if output.topic == "copies"]


# -- a batch without trouble -----------------------------------------------------------------------


async def test_every_record_is_handled_once_and_in_order() -> None:
    handler, taken = Failing({}), orders(5)
    assert await attempt(taken, handler) == Done()
    assert handler.seen == [10, 11, 12, 13, 14]
    settled = settle(taken)
    assert copied(settled) == handler.seen
    assert settled.next_offset == taken.end == 15
    assert settled.tally == Tally(processed=5)


async def test_a_coroutine_function_is_awaited() -> None:
    async def handler(record: Record, out: Outbox) -> None:
        await asyncio.sleep(0)
        copy(record, out)

    taken = orders(3)
    assert await attempt(taken, handler) == Done()
    assert copied(settle(taken)) == [10, 11, 12]


async def test_what_a_plain_function_returns_is_awaited_if_it_can_be() -> None:
    async def later(record: Record, out: Outbox) -> None:
        await asyncio.sleep(0)
        copy(record, out)

    taken = orders(3)
    assert await attempt(taken, lambda record, out: later(record, out)) == Done()
    assert copied(settle(taken)) == [10, 11, 12]


async def test_a_batch_lets_others_run_while_its_handlers_never_wait() -> None:
    handled, seen_by_others = 0, set()

    def handler(record: Record, out: Outbox) -> None:
        nonlocal handled
        handled += 1

    async def somebody_else() -> None:
        while True:
            seen_by_others.add(handled)
            await asyncio.sleep(0)

    other = asyncio.ensure_future(somebody_else())
    await attempt(orders(1000), handler)
    other.cancel()
    assert len(seen_by_others & set(range(1, 1000))) >= 5


# -- effects that are declined ---------------------------------------------------------------------

TAKEN = InvalidRecord("its id is taken")


def ask(record: Record, out: Outbox) -> None:
    copy(record, out)
    out.effect(record.offset)
    out.effect(-record.offset)


async def test_of_each_effect_it_is_known_which_record_asks_for_it() -> None:
    taken = orders(3)
    failing = {11: [InvalidRecord("no")]}

    def handler(record: Record, out: Outbox) -> None:
        ask(record, out)
        if failing.get(record.offset):
            raise failing[record.offset].pop()

    await attempt(taken, handler)
    settled = settle(taken)
    assert (settled.effects, settled.askers) == ([10, -10, 12, -12], [10, 10, 12, 12])


@pytest.mark.parametrize("slow", [False, True], ids=["function", "coroutine"])
async def test_a_record_whose_effect_is_declined_is_a_dead_letter_and_nothing_of_it_happens(slow: bool) -> None:
    async def slowly(record: Record, out: Outbox) -> None:
        await asyncio.sleep(0)
        ask(record, out)

    taken, handler = orders(4), slowly if slow else ask
    assert await attempt(taken, handler) == Done()
    assert settle(taken).tally == Tally(processed=4)
    taken.decline({11: TAKEN})
    assert await attempt(taken, handler) == Done()
    settled = settle(taken)
    assert (settled.effects, settled.first_offset, settled.next_offset) == ([10, -10, 12, -12, 13, -13], 10, 14)
    assert copied(settled) == [10, 12, 13]
    assert (settled.tally.processed, dict(settled.tally.dead_letters)) == (3, {"validate": 1})
    (letter,) = [output for output in settled.outputs if output.topic == "orders.DLT"]
    headers = dict(letter.headers)
    assert (letter.key, letter.value) == (b"k11", b"11")
    assert (headers["x-error-reason"], headers["x-attempts"]) == (b"its id is taken", b"1")
    assert headers["kafka_dlt-original-offset"] == (11).to_bytes(8, "big")


async def test_only_what_is_not_committed_is_handled_again() -> None:
    taken = orders(4)
    handler = Failing({12: [TransientError()]})
    await attempt(taken, handler)
    settle(taken)
    taken.committed()
    await attempt(taken, handler)
    settle(taken)
    taken.decline({13: TAKEN})
    await attempt(taken, handler)
    assert handler.seen == [10, 11, 12, 12, 13, 12]
    assert settle(taken).first_offset == 12


async def test_another_may_be_declined_after_the_first() -> None:
    taken = orders(3)
    await attempt(taken, ask)
    for declined in (11, 10):
        settle(taken)
        taken.decline({declined: TAKEN})
        await attempt(taken, ask)
    settled = settle(taken)
    assert (settled.askers, settled.tally.dead_lettered) == ([12, 12], 2)


async def test_declined_effects_are_taken_from_the_budget_and_the_batch_halts_where_it_is_spent() -> None:
    budget = DeadLetterBudget(BudgetLimits(consecutive=2, share=1.0, window=1000))
    taken = Batch(orders(6).records, ORDERS, budget)
    before = budget.state()
    await attempt(taken, ask)
    settle(taken)
    taken.decline(dict.fromkeys((11, 12, 13, 14), TAKEN))
    assert budget.state() == before
    verdict = await attempt(taken, ask)
    assert isinstance(verdict, Halt)
    assert "2 records in a row were dead-lettered" in verdict.reason
    settled = settle(taken)
    assert (settled.next_offset, settled.tally.processed, settled.tally.dead_lettered) == (13, 1, 2)


@pytest.mark.parametrize("errors", [{}, {99: TAKEN}, {13: TAKEN}], ids=["nobody", "another batch's", "not settled yet"])
async def test_what_nobody_has_asked_for_cannot_be_declined(errors: dict[int, InvalidRecord]) -> None:
    taken = orders(4)
    await attempt(taken, Failing({13: [TransientError()]}))
    settle(taken)
    with pytest.raises(AgentContractBroken, match="declined"):
        taken.decline(errors)


async def test_without_a_dead_letter_topic_a_declined_record_is_counted_as_skipped() -> None:
    taken = orders(2, rules=replace(ORDERS, dead_letter_suffix=None))
    await attempt(taken, ask)
    settle(taken)
    taken.decline({10: TAKEN})
    await attempt(taken, ask)
    assert dict(settle(taken).tally.skipped) == {"validate": 1}


# -- savepoints ------------------------------------------------------------------------------------


async def test_a_record_that_fails_leaves_none_of_its_outputs_behind() -> None:
    taken = orders(3)
    await attempt(taken, Failing({11: [InvalidRecord("no")]}))
    settled = settle(taken)
    assert copied(settled) == [10, 12]
    assert [output.topic for output in settled.outputs] == ["copies", "orders.DLT", "copies"]


async def test_a_record_tried_again_emits_only_what_its_last_attempt_did() -> None:
    taken, handler = orders(2), Failing({10: [KeyError(), KeyError()]})
    while await attempt(taken, handler) != Done():
        pass
    assert handler.seen == [10, 10, 10, 11]
    assert copied(settle(taken)) == [10, 11]


async def test_a_dead_letter_is_its_record_untouched_with_the_reason_beside_it() -> None:
    broken = record(b"\xff", topic="orders", key=b"\xfe", headers=[("a", b"\xfd")], partition=3, offset=41)
    taken = batch(broken, rules=ORDERS)
    await attempt(taken, Failing({41: [InvalidRecord("half of it is missing")]}))
    (letter,) = settle(taken).outputs
    assert (letter.topic, letter.partition) == ("orders.DLT", 3)
    assert letter.key is broken.key
    assert letter.value is broken.value
    headers = dict(letter.headers)
    assert headers["a"] == b"\xfd"
    assert headers["x-error-reason"] == b"half of it is missing"
    assert headers["x-error-stage"] == b"validate"
    assert headers["kafka_dlt-original-topic"] == b"orders"
    assert headers["kafka_dlt-original-partition"] == (3).to_bytes(4, "big")
    assert headers["kafka_dlt-original-offset"] == (41).to_bytes(8, "big")
    assert headers["kafka_dlt-original-timestamp-type"] == b"CreateTime"
    assert headers["kafka_dlt-original-consumer-group"] == b"shop.orders"


# -- trying again ----------------------------------------------------------------------------------


async def test_a_failure_for_the_time_being_stops_at_its_record_and_goes_on_there() -> None:
    taken, handler = orders(3), Failing({11: [TransientError()]})
    assert await attempt(taken, handler) == Retry(0.25)
    assert handler.seen == [10, 11]
    assert await attempt(taken, handler) == Done()
    assert handler.seen == [10, 11, 11, 12]


async def test_a_record_whose_attempts_are_used_up_is_a_dead_letter_that_says_how_many() -> None:
    taken, handler = orders(2), Failing({10: [KeyError() for _ in range(9)]})
    assert [await attempt(taken, handler) for _ in range(3)] == [Retry(0.25), Retry(0.25), Done()]
    settled = settle(taken)
    assert settled.tally == Tally(1, tally_of("handle"))
    headers = dict(settled.outputs[0].headers)
    assert (headers["x-attempts"], headers["x-disposition"]) == (b"3", b"exhausted")
    assert headers["x-first-failed-at"] <= headers["x-failed-at"]


async def test_each_record_has_its_own_attempts() -> None:
    errors: dict[int, list[BaseException]] = {at: [KeyError(), KeyError()] for at in (10, 11)}
    taken = orders(2)
    handler = Failing(errors)
    assert [await attempt(taken, handler) for _ in range(5)] == [Retry(0.25)] * 4 + [Done()]
    assert settle(taken).tally == Tally(processed=2)


async def test_a_pause_uses_up_no_attempt() -> None:
    down = [DependencyUnavailable("database") for _ in range(9)]
    taken, handler = orders(1), Failing({10: [*down, KeyError(), *down[:2], KeyError(), KeyError()]})
    verdicts = [await attempt(taken, handler) for _ in range(14)]
    wait = Pause("database", 3)
    assert verdicts == [wait] * 9 + [Retry(0.25)] + [wait] * 2 + [Retry(0.25), Done()]
    assert dict(settle(taken).outputs[0].headers)["x-attempts"] == b"3"


class Clock:
    """Stands in for the time module, so that an outage of an hour takes no time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(batch_module, "time", made)
    return made


async def test_a_record_that_took_too_long_in_all_is_given_up_before_its_attempts_are(clock: Clock) -> None:
    taken, handler = orders(1), Failing({10: [KeyError(), KeyError()]})
    assert await attempt(taken, handler) == Retry(0.25)
    clock.now += 60
    assert await attempt(taken, handler) == Done()
    headers = dict(settle(taken).outputs[0].headers)
    assert (headers["x-attempts"], headers["x-disposition"]) == (b"2", b"exhausted")
    assert headers["x-first-failed-at"] == b"1970-01-01T00:16:40.000Z"
    assert headers["x-failed-at"] == b"1970-01-01T00:17:40.000Z"


async def test_an_hour_of_waiting_for_a_dependency_is_not_held_against_the_record(clock: Clock) -> None:
    taken = orders(1)
    handler = Failing({10: [KeyError(), DependencyUnavailable("database"), KeyError()]})
    assert await attempt(taken, handler) == Retry(0.25)
    assert await attempt(taken, handler) == Pause("database", 3)
    clock.now += 3600
    assert await attempt(taken, handler) == Retry(0.25)


# -- the dead-letter budget --------------------------------------------------------------------------

TWO_IN_A_ROW = BudgetLimits(consecutive=2, share=1.0, window=1_000)


def with_budget(taken: Batch, limits: BudgetLimits = TWO_IN_A_ROW) -> Batch:
    """The same batch, as the lane of a partition with a new budget makes it."""
    return Batch(taken.records, taken.rules, DeadLetterBudget(limits))


def bad(*offsets: int) -> dict[int, list[BaseException]]:
    return {at: [InvalidRecord("no")] for at in offsets}


async def test_a_batch_halts_before_the_letter_that_is_too_much_and_what_is_before_it_can_be_committed() -> None:
    taken, handler = with_budget(orders(6)), Failing(bad(11, 12, 13))
    verdict = await attempt(taken, handler)
    assert isinstance(verdict, Halt)
    assert verdict.reason == "2 records in a row were dead-lettered (the limit is 2); the next would be for: no"
    assert handler.seen == [10, 11, 12, 13]
    settled = settle(taken)
    assert [output.topic for output in settled.outputs] == ["copies", "orders.DLT", "orders.DLT"]
    assert settled.next_offset == 13
    assert settled.tally == Tally(1, tally_of("validate", "validate"))
    assert taken.settle() is None


@pytest.mark.parametrize("between", [[], [Skip("guest")]], ids=["processed", "skipped"])
async def test_a_record_that_does_not_fail_in_between_pays_the_debt_off(between: list[BaseException]) -> None:
    taken = with_budget(orders(5))
    assert await attempt(taken, Failing({**bad(10, 11, 13, 14), 12: between})) == Done()
    assert settle(taken).tally.dead_lettered == 4


async def test_attempts_and_outages_are_free_only_letters_are_paid_for() -> None:
    down, late = DependencyUnavailable("database"), TransientError()
    errors: dict[int, list[BaseException]] = {10: [late, down, late], 11: [down, down], 12: [late], **bad(13, 14)}
    taken, handler = with_budget(orders(5)), Failing(errors)
    verdicts = [await attempt(taken, handler) for _ in range(7)]
    assert not any(isinstance(verdict, Halt) for verdict in verdicts)
    assert verdicts[-1] == Done()


async def test_records_that_exhaust_their_attempts_are_paid_for_too() -> None:
    taken, handler = with_budget(orders(3)), Failing({at: [KeyError() for _ in range(3)] for at in (10, 11, 12)})
    verdicts = [await attempt(taken, handler) for _ in range(7)]
    assert verdicts[:6] == [Retry(0.25)] * 6
    assert isinstance(verdicts[6], Halt)
    assert settle(taken).next_offset == 12


async def test_the_budget_is_the_partitions_not_the_batchs() -> None:
    budget = DeadLetterBudget(TWO_IN_A_ROW)
    first = Batch(orders(2).records, ORDERS, budget)
    assert await attempt(first, Failing(bad(10, 11))) == Done()
    second = Batch(orders(1).records, ORDERS, budget)
    assert isinstance(await attempt(second, Failing(bad(10))), Halt)
    assert second.settle() is None


async def test_a_share_of_the_records_is_too_much_as_well() -> None:
    taken = with_budget(orders(12), BudgetLimits(consecutive=1_000, share=0.5, window=4))
    verdict = await attempt(taken, Failing(bad(11, 13, 14)))
    assert verdict == Halt("3 of the last 4 records would be dead letters (at most 50%); the next would be for: no")
    assert settle(taken).next_offset == 14


async def test_the_reason_of_a_halt_does_not_quote_the_record() -> None:
    taken = with_budget(orders(1, rules=HURRIED), BudgetLimits(1, 1.0, 1_000))
    taken._budget.spend()  # type: ignore[union-attr]
    verdict = await attempt(taken, Failing({10: [ValueError("card 4111111111111111")]}))
    assert isinstance(verdict, Halt)
    assert "4111" not in verdict.reason
    assert "ValueError" in verdict.reason


@given(failing=st.lists(st.booleans(), min_size=1, max_size=30), consecutive=st.integers(1, 4))
def test_a_halt_comes_exactly_at_the_first_letter_too_many(failing: list[bool], consecutive: int) -> None:
    taken = with_budget(orders(len(failing)), BudgetLimits(consecutive, 1.0, 1_000))
    handler = Failing(bad(*(10 + number for number, fails in enumerate(failing) if fails)))
    verdict = asyncio.run(attempt(taken, handler))
    text = "".join("x" if fails else "." for fails in failing)
    too_many = text.find("x" * (consecutive + 1))
    if too_many < 0:
        assert verdict == Done()
        return
    assert isinstance(verdict, Halt)
    settled = taken.settle()
    assert settled is not None
    assert settled.next_offset == 10 + too_many + consecutive
    assert settled.tally.dead_lettered == text[: too_many + consecutive].count("x")


# -- settling --------------------------------------------------------------------------------------


async def test_what_comes_before_a_failing_record_can_be_committed_at_once_and_only_once() -> None:
    taken, handler = orders(4, step=2), Failing({14: [TransientError()]})
    await attempt(taken, handler)
    first = settle(taken)
    assert copied(first) == [10, 12]
    assert first.next_offset == 14
    assert first.tally == Tally(processed=2)
    assert taken.settle() is None

    await attempt(taken, handler)
    rest = settle(taken)
    assert copied(rest) == [14, 16]
    assert rest.next_offset == 17
    assert rest.tally == Tally(processed=2)
    assert taken.settle() is None


async def test_the_offset_to_go_on_at_is_the_next_records_own_not_the_last_ones_plus_one() -> None:
    taken = orders(2, step=5)
    await attempt(taken, Failing({15: [TransientError()]}))
    assert settle(taken).next_offset == 15


async def test_nothing_is_settled_while_the_first_record_fails() -> None:
    taken, handler = orders(2), Failing({10: [TransientError()]})
    assert taken.settle() is None
    await attempt(taken, handler)
    assert taken.settle() is None


# -- passing over ----------------------------------------------------------------------------------


async def test_a_skipped_record_is_counted_by_its_reason_and_leaves_nothing() -> None:
    taken = orders(4)
    await attempt(taken, Failing({10: [Skip("guest")], 12: [Skip("guest")], 13: [Skip("test order")]}))
    settled = settle(taken)
    assert copied(settled) == [11]
    assert settled.tally == Tally(1, skipped=tally_of("guest", "guest", "test order"))
    assert settled.next_offset == 14


async def test_without_a_dead_letter_topic_a_record_that_will_not_succeed_is_counted_as_skipped() -> None:
    taken = orders(2, rules=replace(ORDERS, dead_letter_suffix=None))
    await attempt(taken, Failing({10: [InvalidRecord("no")]}))
    settled = settle(taken)
    assert copied(settled) == [11]
    assert settled.tally == Tally(1, skipped=tally_of("validate"))


async def test_a_revoked_batch_is_passed_over() -> None:
    taken, handler = orders(3), Failing({})
    taken.revoke()
    assert taken.released
    assert await attempt(taken, handler) == Done()
    assert handler.seen == []
    assert taken.settle() is None


async def test_a_batch_revoked_in_the_middle_hands_out_no_further_record() -> None:
    taken = orders(3)
    seen = []

    def handler(record: Record, out: Outbox) -> None:
        seen.append(record.offset)
        taken.revoke()

    await attempt(taken, handler)
    assert seen == [10]


async def test_a_handler_that_kept_the_outbox_cannot_write_to_it_afterwards() -> None:
    kept: list[Outbox] = []
    await attempt(orders(2), lambda record, out: kept.append(out))
    with pytest.raises(RuntimeError, match="outside of a handler"):
        kept[0].emit("copies", b"of which record?")


async def test_nothing_can_be_written_while_a_batch_waits_for_its_next_attempt() -> None:
    kept: list[Outbox] = []

    def handler(record: Record, out: Outbox) -> None:
        kept.append(out)
        raise TransientError

    await attempt(orders(1), handler)
    with pytest.raises(RuntimeError, match="outside of a handler"):
        kept[0].emit("copies", b"too late")


async def test_a_batch_is_released_only_between_a_verdict_and_the_next_offer() -> None:
    taken, handler = orders(1), Failing({10: [TransientError()]})
    taken.offer()
    assert not taken.released
    await taken.handle(handler)
    assert taken.released
    taken.offer()
    assert not taken.released


async def test_a_batch_can_be_handled_without_a_lane() -> None:
    taken = orders(2)
    await taken.handle(copy)
    assert [output.value for output in taken.outputs] == [b"10", b"11"]
    assert taken.tally == Tally(processed=2)


# -- what must not be swallowed --------------------------------------------------------------------


class Torn(BaseException):
    """Like SystemExit, but of no interest to asyncio."""


async def test_what_is_no_exception_leaves_the_handler_and_its_lane_hears_of_it() -> None:
    taken = orders(2)
    released = taken.offer()
    with pytest.raises(Torn):
        await taken.handle(Failing({11: [Torn("4111111111111111")]}))
    with pytest.raises(AgentContractBroken, match=r"<Batch orders-3@10\.\.11> unfinished: Torn") as caught:
        await released
    assert "4111" not in str(caught.value)
    assert isinstance(caught.value.__cause__, Torn)


async def test_a_failure_of_the_machinery_is_no_fault_of_the_record() -> None:
    taken = orders(1)
    released = taken.offer()
    with pytest.raises(LaneFenced):
        await taken.handle(Failing({10: [LaneFenced("another worker has it")]}))
    assert isinstance(released.exception(), LaneFenced)
    assert taken.settle() is None


async def cancel_the_agent(taken: Batch) -> None:
    begun = asyncio.Event()

    async def handler(record: Record, out: Outbox) -> None:
        begun.set()
        await asyncio.Event().wait()

    agent = asyncio.ensure_future(taken.handle(handler))
    await begun.wait()
    agent.cancel()
    with pytest.raises(asyncio.CancelledError):
        await agent


async def test_a_cancelled_agent_does_not_cancel_its_lane() -> None:
    taken = orders(2)
    released = taken.offer()
    await cancel_the_agent(taken)
    assert released.done()
    assert not released.cancelled()
    assert isinstance(released.exception(), AgentContractBroken)


async def test_a_cancellation_inside_of_a_handler_is_neither_retried_nor_dead_lettered() -> None:
    async def handler(record: Record, out: Outbox) -> None:
        somebody_elses: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        somebody_elses.cancel()
        await somebody_elses

    taken = orders(1)
    released = taken.offer()
    with pytest.raises(asyncio.CancelledError):
        await taken.handle(handler)
    assert isinstance(released.exception(), AgentContractBroken)
    assert taken.settle() is None


async def test_nobody_is_warned_of_a_torn_batch_that_no_lane_waits_for_any_more() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    taken = orders(1)
    taken.offer()
    await cancel_the_agent(taken)
    del taken
    await asyncio.sleep(0)  # until then the loop itself holds on to the task that was cancelled
    gc.collect()
    assert complaints == []


async def test_a_lane_that_is_gone_does_not_disturb_the_agent() -> None:
    taken = orders(1)
    taken.offer().cancel()
    await taken.handle(copy)
    assert taken.tally.processed == 1


# -- handlers that take too long -------------------------------------------------------------------

HURRIED = replace(ORDERS, policy=replace(POLICY, backoff=FixedBackOff(0, 0), handler_timeout=0.02))


@pytest.mark.parametrize("wrap", [lambda handler: handler, lambda handler: lambda r, o: handler(r, o)])
async def test_a_handler_that_takes_too_long_is_cancelled_and_the_record_fails(
    wrap: Callable[[Handler], Handler],
) -> None:
    ended = asyncio.Event()

    async def handler(record: Record, out: Outbox) -> None:
        copy(record, out)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    taken = orders(1, rules=HURRIED)
    begun = time.monotonic()
    assert await attempt(taken, wrap(handler)) == Done()
    assert time.monotonic() - begun >= 0.02
    assert ended.is_set()
    (letter,) = settle(taken).outputs
    assert dict(letter.headers)["x-error-reason"] == b"the handler took longer than 0.02 s"
    assert dict(letter.headers)["kafka_dlt-exception-fqcn"] == b"streams.failure.errors.HandlerTimeout"


async def test_a_time_limit_of_the_handlers_own_is_not_taken_for_ours() -> None:
    async def handler(record: Record, out: Outbox) -> None:
        await asyncio.wait_for(asyncio.Event().wait(), 0.001)

    taken = orders(1, rules=replace(HURRIED, policy=replace(HURRIED.policy, handler_timeout=30)))
    assert await attempt(taken, handler) == Done()
    (letter,) = settle(taken).outputs
    assert b"HandlerTimeout" not in dict(letter.headers)["kafka_dlt-exception-fqcn"]


# -- nothing is lost, nothing is counted twice -------------------------------------------------------


def tally_of(*reasons: str) -> Any:
    return type(Tally().skipped)(reasons)


@dataclass(frozen=True)
class Outcome:
    """How one record behaves, and what must become of it after two retries have been granted."""

    errors: tuple[str, ...]
    copies: int = 0
    letter: str | None = None
    skipped: str | None = None


ERRORS: dict[str, Callable[[], Exception]] = {
    "transient": TransientError,
    "unknown": lambda: KeyError("4111"),
    "down": lambda: DependencyUnavailable("database"),
    "invalid": lambda: InvalidRecord("no"),
    "skip": lambda: Skip("guest"),
}
PAUSES = st.lists(st.just("down"), max_size=2)
TRIES = st.lists(st.sampled_from(["transient", "unknown"]), max_size=2)
BEFORE = st.tuples(PAUSES, TRIES, PAUSES).map(lambda parts: (*parts[0], *parts[1], *parts[2]))
OUTCOMES = st.one_of(
    BEFORE.map(lambda errors: Outcome(errors, copies=1)),
    BEFORE.map(lambda errors: Outcome((*errors, "invalid"), letter="validate")),
    BEFORE.map(lambda errors: Outcome((*errors, "skip"), skipped="guest")),
    PAUSES.map(lambda errors: Outcome((*errors, "unknown", "unknown", "transient"), letter="handle")),
)


async def as_a_lane_would(taken: Batch, handler: Handler) -> list[Settled]:
    commits = []
    verdict: Verdict | None = None
    while verdict != Done():
        verdict = await attempt(taken, handler)
        settled = taken.settle()
        if settled is not None:
            commits.append(settled)
    return commits


@given(outcomes=st.lists(OUTCOMES, min_size=1, max_size=8), step=st.integers(1, 3))
def test_whatever_happens_every_record_ends_in_exactly_one_way(outcomes: list[Outcome], step: int) -> None:
    taken = orders(len(outcomes), step=step)
    expected = {record.offset: outcome for record, outcome in zip(taken.records, outcomes, strict=True)}
    handler = Failing({at: [ERRORS[name]() for name in outcome.errors] for at, outcome in expected.items()})
    commits = asyncio.run(as_a_lane_would(taken, handler))

    total = Tally()
    for commit in commits:
        total.add(commit.tally)
    assert total.consumed == total.processed + total.dead_lettered + sum(total.skipped.values())
    assert total.consumed == len(outcomes)
    assert total.processed == sum(outcome.copies for outcome in outcomes)
    assert total.dead_letters == tally_of(*(o.letter for o in outcomes if o.letter))
    assert total.skipped == tally_of(*(o.skipped for o in outcomes if o.skipped))

    written = [(output.topic, int(output.value or b"")) for commit in commits for output in commit.outputs]
    assert written == [
        ("copies" if outcome.copies else "orders.DLT", at) for at, outcome in expected.items() if not outcome.skipped
    ]
    offsets = [commit.next_offset for commit in commits]
    assert offsets == sorted(set(offsets))
    assert offsets[-1] == taken.end
    assert {len(errors) for errors in handler.errors.values()} == {0}
