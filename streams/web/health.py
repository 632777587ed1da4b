"""Whether a worker is alive and ready: a pure judgement over what its lanes say.

Liveness asks "would a restart help?": only a lane that has work and gets nowhere answers no. A broker that
is away, a dependency that is down and a lane that has halted are no reasons to restart. Readiness asks "is
all as it should be?" and names what is not. Neither asks Kafka anything: a probe must not add to its load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streams.delivery.status import LaneStatus, State
from streams.failure.breaker import BreakerState, BreakerStatus

# In these a lane is supposed to get somewhere by itself.
_WORKING = (State.STARTING, State.FETCHING, State.HANDLING, State.FINISHING)
# As many as anybody reads in a line; 'paystream lanes list' has all of them.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Health:
    """A judgement and its reasons."""

    live: bool
    ready: bool
    reasons: tuple[str, ...]


def judge(
    lanes: Sequence[LaneStatus],
    breakers: Sequence[BreakerStatus],
    *,
    joined: bool,
    stall_after: float,
    troubles: Sequence[str] = (),
) -> Health:
    """Judge a worker.

    Arguments:
        lanes: of all agents.
        breakers: of all dependencies.
        joined: whether every agent's group has been joined and has been given its partitions, if any.
        stall_after: seconds without progress after which a lane with work counts as stuck; long enough for
            a rebalance, a broker's failover and the slowest handler.
        troubles: why nothing arrives, by group.
    """
    stuck = [lane for lane in lanes if _is_stuck(lane, stall_after)]
    reasons = [
        f"{lane.group}: {lane.topic}-{lane.partition} has got nowhere for {lane.quiet_seconds:.0f} s "
        f"while {lane.state.value}"
        for lane in stuck
    ]
    reasons += [
        f"{lane.group}: {lane.topic}-{lane.partition} has halted: {lane.reason}"
        for lane in lanes
        if lane.state is State.HALTED
    ]
    down = [breaker for breaker in breakers if breaker.state is not BreakerState.CLOSED]
    paused = [lane for lane in lanes if lane.state is State.PAUSED]
    for breaker in down:
        waiting = _named([lane for lane in paused if lane.reason == breaker.reason])
        reasons.append(f"{breaker.dependency} is down for {breaker.seconds_open:.0f} s: {breaker.reason}{waiting}")
    reasons += [
        f"{lane.group}: {lane.topic}-{lane.partition} waits: {lane.reason}"
        for lane in paused
        if lane.reason not in {breaker.reason for breaker in breakers}
    ]
    reasons += troubles
    if not joined:
        reasons.append("no partitions have been assigned yet")
    reasons += [
        f"{lane.group}: {lane.topic}-{lane.partition} is starting"
        for lane in lanes
        if lane.state is State.STARTING and lane not in stuck
    ]
    return Health(live=not stuck, ready=not reasons, reasons=tuple(reasons))


def _named(lanes: Sequence[LaneStatus]) -> str:
    """Name the lanes that wait for something; not all of them where it is the whole worker."""
    names = [f"{lane.group} {lane.topic}-{lane.partition}" for lane in lanes[:_NAMED]]
    if len(lanes) > _NAMED:
        names.append(f"{len(lanes) - _NAMED} more")
    return f" (waiting: {', '.join(names)})" if names else ""


def _is_stuck(lane: LaneStatus, stall_after: float) -> bool:
    if lane.state not in _WORKING or lane.quiet_seconds <= stall_after:
        return False
    # A quiet lane that fetches and has nothing to do is quiet because nothing happens.
    return lane.state is not State.FETCHING or bool(lane.lag)
