from __future__ import annotations

from dataclasses import replace

import pytest

from streams.delivery.status import LaneStatus, State
from streams.failure.breaker import BreakerState, BreakerStatus
from streams.web.health import Health, judge

LIMIT = 90.0
LANE = LaneStatus("shop.payments", "payment.completed", 3, State.FETCHING, 10, 10, 0.5)
BREAKER = BreakerStatus("database", BreakerState.CLOSED, "", 0.0, 0, 0)
WORKING = (State.STARTING, State.FETCHING, State.HANDLING, State.FINISHING)


def judged(*lanes: LaneStatus, breakers: tuple[BreakerStatus, ...] = (), joined: bool = True) -> Health:
    return judge(lanes, breakers, joined=joined, stall_after=LIMIT)


def test_lanes_that_work_and_closed_breakers_are_no_reason() -> None:
    lanes = [replace(LANE, partition=each, state=state) for each, state in enumerate(WORKING[1:])]
    assert judged(*lanes, breakers=(BREAKER,)) == Health(live=True, ready=True, reasons=())


@pytest.mark.parametrize("state", WORKING)
def test_a_lane_with_work_that_gets_nowhere_is_not_alive_and_is_named(state: State) -> None:
    stuck = replace(LANE, state=state, end_offset=11, quiet_seconds=91.4)
    health = judged(LANE, stuck)
    assert (health.live, health.ready) == (False, False)
    assert health.reasons == (f"shop.payments: payment.completed-3 has got nowhere for 91 s while {state.value}",)


@pytest.mark.parametrize("state", WORKING)
def test_a_lane_has_the_whole_of_its_time(state: State) -> None:
    assert judged(replace(LANE, state=state, end_offset=11, quiet_seconds=LIMIT)).live


@pytest.mark.parametrize("end", [10, 9, None])
def test_a_lane_that_fetches_and_has_nothing_to_do_may_be_quiet_for_ever(end: int | None) -> None:
    assert judged(replace(LANE, end_offset=end, quiet_seconds=1e6)) == Health(True, True, ())


@pytest.mark.parametrize("state", [State.RETRYING, State.PAUSED, State.HALTED])
def test_a_lane_that_waits_is_alive_however_long(state: State) -> None:
    assert judged(replace(LANE, state=state, end_offset=99, quiet_seconds=1e6)).live


def test_a_lane_in_back_off_is_ready_since_it_is_one_records_matter() -> None:
    assert judged(replace(LANE, state=State.RETRYING, end_offset=99)).ready


def test_a_halted_lane_makes_a_worker_unready_with_its_reason_and_not_dead() -> None:
    halted = replace(LANE, state=State.HALTED, reason="3 records in a row were dead-lettered")
    assert judged(LANE, halted) == Health(
        live=True,
        ready=False,
        reasons=("shop.payments: payment.completed-3 has halted: 3 records in a row were dead-lettered",),
    )


@pytest.mark.parametrize("state", [BreakerState.OPEN, BreakerState.HALF_OPEN])
def test_a_dependency_that_is_down_makes_a_worker_unready_with_its_reason_and_not_dead(state: BreakerState) -> None:
    down = replace(BREAKER, state=state, reason="connection refused", seconds_open=61.8)
    assert judged(LANE, breakers=(BREAKER, down)) == Health(
        live=True, ready=False, reasons=("database is down for 62 s: connection refused",)
    )


def test_before_partitions_are_assigned_a_worker_is_alive_and_not_ready() -> None:
    assert judged(joined=False) == Health(True, False, ("no partitions have been assigned yet",))


def test_a_group_that_nobody_serves_makes_a_worker_unready_and_a_restart_would_not_help() -> None:
    health = judge([LANE], [], joined=True, stall_after=LIMIT, troubles=["shop.payments: no broker answers"])
    assert health == Health(True, False, ("shop.payments: no broker answers",))


def test_a_member_that_got_no_partition_is_ready_all_the_same() -> None:
    assert judged(joined=True) == Health(True, True, ())


def test_a_lane_that_starts_is_not_ready_yet_and_is_named_once() -> None:
    starting = replace(LANE, state=State.STARTING, next_offset=None, end_offset=None)
    assert judged(starting) == Health(True, False, ("shop.payments: payment.completed-3 is starting",))
    assert len(judged(replace(starting, quiet_seconds=91)).reasons) == 1


def test_all_reasons_are_given_at_once() -> None:
    health = judged(
        replace(LANE, partition=0, state=State.HALTED, reason="halted"),
        replace(LANE, partition=1, state=State.HANDLING, quiet_seconds=91),
        replace(LANE, partition=2, state=State.STARTING),
        breakers=(replace(BREAKER, state=BreakerState.OPEN),),
        joined=False,
    )
    assert len(health.reasons) == 5


@pytest.mark.parametrize(
    ("next_offset", "end_offset", "lag"), [(3, 10, 7), (10, 10, 0), (12, 10, 0), (None, 10, None), (3, None, None)]
)
def test_lag_is_what_is_left_or_unknown_and_never_negative(
    next_offset: int | None, end_offset: int | None, lag: int | None
) -> None:
    assert replace(LANE, next_offset=next_offset, end_offset=end_offset).lag == lag


def test_what_is_down_is_named_with_the_lanes_that_wait_for_it() -> None:
    down = replace(BREAKER, state=BreakerState.OPEN, reason="refused", seconds_open=3.0)
    lanes = [replace(LANE, partition=each, state=State.PAUSED, reason="refused") for each in range(7)]
    named = ", ".join(f"shop.payments payment.completed-{each}" for each in range(5))
    assert judged(*lanes, breakers=(down,)).reasons == (
        f"database is down for 3 s: refused (waiting: {named}, 2 more)",
    )
    assert judged(LANE, breakers=(down,)).reasons == ("database is down for 3 s: refused",)


def test_a_lane_that_waits_for_what_has_no_breaker_is_named_with_its_reason() -> None:
    waits = replace(LANE, state=State.PAUSED, reason="a transaction of before cannot end")
    assert judged(waits).reasons == ("shop.payments: payment.completed-3 waits: a transaction of before cannot end",)
