from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.leaping import virtual_loop

from streams.failure.breaker import Breaker, Breakers, BreakerState

INTERVAL = 5.0
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def in_no_time(test: Callable[[Breaker], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a coroutine test in virtual time, with a breaker that goes by the same clock."""

    def run() -> None:
        loop = virtual_loop()
        try:
            loop.run_until_complete(test(Breaker("database", loop.time)))
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
                loop.run_until_complete(asyncio.wait({task}))
            loop.close()

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def settle() -> None:
    """Let every task run as far as it gets without time passing."""
    for _ in range(20):
        await asyncio.sleep(0)


async def passes(seconds: float) -> None:
    await asyncio.sleep(seconds)
    await settle()


class Caller:
    """A lane at the breaker: it takes its turn and stays in it until it is told how it went."""

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self.inside = False
        self.probing = False
        self.went_in_at = 0.0
        self._answer: asyncio.Future[bool | Exception] = asyncio.get_running_loop().create_future()
        self.task = asyncio.ensure_future(self._take_turn())

    async def _take_turn(self) -> None:
        async with self.breaker.turn():
            self.inside, self.went_in_at = True, asyncio.get_running_loop().time()
            self.probing = self.breaker.state is HALF_OPEN
            try:
                answer = await self._answer
                if isinstance(answer, Exception):
                    raise answer
                if answer:
                    self.breaker.close()
                else:
                    self.breaker.open("refused again", INTERVAL)
            finally:
                self.inside = self.probing = False

    async def says(self, answer: bool | Exception) -> None:
        self._answer.set_result(answer)
        await settle()

    async def revoked(self) -> None:
        self.task.cancel()
        await settle()


def inside(callers: list[Caller]) -> list[int]:
    return [number for number, caller in enumerate(callers) if caller.inside]


async def three_at(breaker: Breaker) -> list[Caller]:
    callers = [Caller(breaker) for _ in range(3)]
    await settle()
    return callers


# -- closed, open, half-open ---------------------------------------------------------------------------


@in_no_time
async def test_a_closed_breaker_lets_everybody_through_at_once(breaker: Breaker) -> None:
    assert inside(await three_at(breaker)) == [0, 1, 2]
    assert breaker.state is CLOSED


@in_no_time
async def test_an_open_one_lets_nobody_through_until_its_interval_is_over_and_then_one(breaker: Breaker) -> None:
    opened = asyncio.get_running_loop().time()
    breaker.open("refused", INTERVAL)
    callers = await three_at(breaker)
    assert (inside(callers), breaker.state, breaker.status().waiting) == ([], OPEN, 3)
    await passes(INTERVAL * 0.99)
    assert inside(callers) == []
    await passes(INTERVAL * 0.02)
    assert (len(inside(callers)), breaker.state, breaker.status().waiting) == (1, HALF_OPEN, 2)
    (prober,) = inside(callers)
    assert callers[prober].went_in_at == pytest.approx(opened + INTERVAL)
    await passes(100 * INTERVAL)
    assert inside(callers) == [prober], "while one probes there is nothing to wait for but its answer"


@in_no_time
async def test_a_probe_that_succeeds_lets_all_the_others_through(breaker: Breaker) -> None:
    breaker.open("refused", INTERVAL)
    callers = await three_at(breaker)
    await passes(INTERVAL)
    (prober,) = inside(callers)
    await callers[prober].says(True)
    assert breaker.state is CLOSED
    assert inside(callers) == [each for each in range(3) if each != prober]


@in_no_time
async def test_a_probe_that_fails_makes_all_wait_for_a_whole_interval_again(breaker: Breaker) -> None:
    breaker.open("refused", INTERVAL)
    callers = await three_at(breaker)
    for _ in range(3):
        await passes(INTERVAL)
        (prober,) = inside(callers)
        await callers[prober].says(False)
        assert (breaker.state, breaker.reason) == (OPEN, "refused again")
        assert inside(callers) == []


@in_no_time
async def test_who_comes_after_the_interval_probes_at_once(breaker: Breaker) -> None:
    breaker.open("refused", INTERVAL)
    await passes(INTERVAL)
    assert len(inside(await three_at(breaker))) == 1


@in_no_time
async def test_further_failures_while_it_is_open_do_not_put_the_probe_off(breaker: Breaker) -> None:
    breaker.open("refused", INTERVAL)
    callers = await three_at(breaker)
    for _ in range(9):
        await asyncio.sleep(INTERVAL / 10)
        breaker.open("refused", INTERVAL)
    assert inside(callers) == []
    await passes(INTERVAL / 10)
    assert len(inside(callers)) == 1


# -- a probe that ends without an answer ---------------------------------------------------------------


@in_no_time
async def test_a_lane_revoked_while_it_probes_passes_the_probe_on_at_once(breaker: Breaker) -> None:
    breaker.open("refused", INTERVAL)
    callers = await three_at(breaker)
    await passes(INTERVAL)
    (first,) = inside(callers)
    await callers[first].revoked()
    (second,) = inside(callers)
    assert second != first
    assert breaker.state is HALF_OPEN
    await callers[second].says(True)
    assert breaker.state is CLOSED


@in_no_time
async def test_a_probe_that_raises_passes_it_on_too(breaker: Breaker) -> None:
    breaker.open("refused", INTERVAL)
    callers = await three_at(breaker)
    await passes(INTERVAL)
    (first,) = inside(callers)
    await callers[first].says(OSError())
    assert len(inside(callers)) == 1
    assert isinstance(callers[first].task.exception(), OSError)


@in_no_time
async def test_a_lane_revoked_while_it_waits_is_not_waited_for(breaker: Breaker) -> None:
    breaker.open("refused", INTERVAL)
    callers = await three_at(breaker)
    await callers[0].revoked()
    await callers[1].revoked()
    assert breaker.status().waiting == 1
    await passes(INTERVAL)
    assert inside(callers) == [2]


# -- what it says --------------------------------------------------------------------------------------


@in_no_time
async def test_it_says_once_that_it_opened_and_once_that_it_closed(breaker: Breaker) -> None:
    assert not breaker.close(), "it was closed"
    assert breaker.open("refused", INTERVAL)
    assert not breaker.open("refused", INTERVAL)
    await passes(INTERVAL)
    async with breaker.turn():
        assert not breaker.open("refused", INTERVAL), "a probe that failed is no news"
    assert breaker.close()
    assert not breaker.close()
    assert breaker.open("refused", INTERVAL)
    assert breaker.status().times_opened == 2


@in_no_time
async def test_its_status_is_how_long_it_is_down_and_why_through_every_probe(breaker: Breaker) -> None:
    assert breaker.status().seconds_open == 0
    breaker.open("connection refused", INTERVAL)
    for _ in range(3):
        await passes(INTERVAL)
        async with breaker.turn():
            breaker.open("time-out", INTERVAL)
    status = breaker.status()
    assert (status.dependency, status.state, status.reason) == ("database", OPEN, "time-out")
    assert status.seconds_open == pytest.approx(3 * INTERVAL)
    breaker.close()
    assert (breaker.status().reason, breaker.status().seconds_open) == ("", 0)


def test_each_dependency_has_one_breaker_and_they_are_independent() -> None:
    breakers = Breakers()
    assert not breakers.any_open
    assert breakers.of("database") is breakers.of("database")
    breakers.of("database").open("refused", INTERVAL)
    assert breakers.of("smtp").state is CLOSED
    assert breakers.any_open
    assert [(each.dependency, each.state) for each in breakers.statuses()] == [("database", OPEN), ("smtp", CLOSED)]
    breakers.of("database").close()
    assert not breakers.any_open


# -- whatever happens ----------------------------------------------------------------------------------

LANES = 4
lanes = st.integers(0, LANES - 1)


class Lanes(RuleBasedStateMachine):
    """Lanes that fail, wait, probe, and are revoked, in any order.

    A lane works outside of the breaker until it fails, as lanes do: `fails_while_working` is its way in.
    """

    @initialize()
    def begin(self) -> None:
        self.loop = virtual_loop()
        self.breaker = Breaker("database", self.loop.time)
        self.callers: dict[int, Caller] = {}
        self.due = 0.0

    def _run(self, doing: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(doing)

    def _opens(self) -> None:
        """Keep account of when the next probe is due at the latest."""
        if self.breaker.state is not OPEN:
            self.due = self.loop.time() + INTERVAL

    @property
    def probers(self) -> list[Caller]:
        return [each for each in self.callers.values() if each.probing]

    async def _comes(self, lane: int) -> None:
        self._opens()
        self.breaker.open("refused", INTERVAL)
        self.callers[lane] = Caller(self.breaker)
        await settle()

    @precondition(lambda self: self.breaker.state is not HALF_OPEN)
    @rule(lane=lanes)
    def fails_while_working(self, lane: int) -> None:
        if lane not in self.callers:
            self._run(self._comes(lane))

    @rule(seconds=st.sampled_from([0.1, INTERVAL / 2, INTERVAL, 10 * INTERVAL]))
    def time_passes(self, seconds: float) -> None:
        self._run(passes(seconds))

    @rule(lane=lanes, answer=st.sampled_from([True, False, OSError()]))
    def finishes_its_turn(self, lane: int, answer: bool | Exception) -> None:
        caller = self.callers.get(lane)
        if caller is not None and (caller.probing or (caller.inside and self.breaker.state is CLOSED)):
            self._finishes(lane, caller, answer)

    def _finishes(self, lane: int, caller: Caller, answer: bool | Exception) -> None:
        if answer is False:
            self._opens()
        self._run(caller.says(answer))
        del self.callers[lane]
        assert caller.task.exception() is (answer if isinstance(answer, Exception) else None)
        if answer is False:  # it takes its turn again
            self._run(self._again(lane))

    async def _again(self, lane: int) -> None:
        self.callers[lane] = Caller(self.breaker)
        await settle()

    @rule(lane=lanes)
    def is_revoked(self, lane: int) -> None:
        caller = self.callers.pop(lane, None)
        if caller is not None:
            self._run(caller.revoked())
            assert caller.task.cancelled()

    @invariant()
    def nobody_waits_at_a_closed_one(self) -> None:
        waiting = [each for each in self.callers.values() if not each.inside]
        assert self.breaker.status().waiting == len(waiting)
        assert self.breaker.state is not CLOSED or not waiting

    @invariant()
    def there_are_never_two_probes(self) -> None:
        assert len(self.probers) <= 1

    @invariant()
    def half_open_means_that_somebody_probes(self) -> None:
        assert self.breaker.state is not HALF_OPEN or self.probers

    @invariant()
    def somebody_probes_once_it_is_due(self) -> None:
        due = self.breaker.state is OPEN and self.loop.time() >= self.due
        assert not (due and self.breaker.status().waiting), "the probe is due, somebody waits, and nobody probes"

    def teardown(self) -> None:
        """The dependency is back: whoever tries succeeds, and all get through."""
        if not hasattr(self, "loop"):
            return
        try:
            had_some = bool(self.callers)
            for _ in range(LANES + 1):
                self.time_passes(INTERVAL)
                for lane, caller in list(self.callers.items()):
                    if caller.inside:
                        self._finishes(lane, caller, True)
            assert not self.callers, "somebody still waits though the dependency is back"
            assert not had_some or self.breaker.state is CLOSED
        finally:
            for each in self.callers.values():
                self._run(each.revoked())
            self.loop.close()


class LanesWithLateFailures(Lanes):
    """Also lanes whose handlers were under way when another's probe began, and that fail during it."""

    @initialize()
    def begin(self) -> None:
        super().begin()
        for lane in (0, 1):
            self._run(self._comes(lane))
        self.time_passes(INTERVAL)
        assert len(self.probers) == 1

    @precondition(lambda self: self.breaker.state is HALF_OPEN)
    @rule(lane=lanes)
    def fails_while_another_probes(self, lane: int) -> None:
        caller = self.callers.get(lane)
        if caller is None:
            self._run(self._comes(lane))
        elif caller.inside and not caller.probing:  # it had been let through while all seemed well
            self._finishes(lane, caller, False)


_SHORT = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_whatever_lanes_do_there_are_never_two_probes_and_all_get_through_in_the_end() -> None:
    run_state_machine_as_test(Lanes, settings=_SHORT)


def test_that_holds_too_when_others_fail_while_one_probes() -> None:
    run_state_machine_as_test(LanesWithLateFailures, settings=settings(_SHORT, phases=(Phase.generate,)))


@in_no_time
async def test_a_failure_that_comes_late_does_not_let_a_second_probe_begin(breaker: Breaker) -> None:
    breaker.open("refused", INTERVAL)
    callers = await three_at(breaker)
    await passes(INTERVAL)
    (prober,) = inside(callers)
    breaker.open("a handler that had begun before ran into its time-out", INTERVAL)
    await passes(2 * INTERVAL)
    assert inside(callers) == [prober]


@in_no_time
async def test_a_breaker_at_which_nobody_waits_any_more_is_not_open_for_ever(breaker: Breaker) -> None:
    breaker.open("refused", INTERVAL)
    callers = await three_at(breaker)
    for caller in callers:
        await caller.revoked()
    assert breaker.state is CLOSED, "its partitions are another worker's now, and this one is ready"
