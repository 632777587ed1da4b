"""Waiting for what is down, and seeing whether it is back.

Lanes that need the same dependency share its breaker: one of them probes, the others wait for what it finds.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from streams.delivery.batch import Batch, Verdict
from streams.delivery.status import Standing, State
from streams.delivery.surroundings import Surroundings
from streams.failure.breaker import Breaker, BreakerState
from streams.failure.errors import DependencyUnavailable
from streams.failure.policy import Pause, Retry

# The name is the lane's: who reads the log asks what happens to a partition.
logger: Final = logging.getLogger("streams.delivery.lane")

T = TypeVar("T")


class Waiting:
    """How one lane waits for dependencies.

    Arguments:
        standing: the lane's; says while it waits, and for what.
        surroundings: the lane's; has the breakers of the worker's dependencies.
    """

    def __init__(self, standing: Standing, surroundings: Surroundings) -> None:
        self._standing = standing
        self._breakers = surroundings.breakers
        self._meter = surroundings.meter
        self._interval = surroundings.rules.policy.pause_interval

    async def take(self, step: Callable[[], Awaitable[T]]) -> T:
        """Take a step, and take it again for as long as what it needs is down."""
        try:
            return await step()
        except DependencyUnavailable as error:
            down = error
        state = self._standing.state
        while True:
            breaker = self._breakers.of(down.dependency)
            self._opens(breaker, down.reason, self._interval)
            async with breaker.turn():
                self._standing.enter(state)
                try:
                    done = await step()
                except DependencyUnavailable as error:
                    down = error
                    # What is down now may be something else, of which those who wait for this one know nothing.
                    if down.dependency == breaker.dependency:
                        breaker.open(down.reason, self._interval)
                else:
                    self._closes(breaker)
                    return done

    async def probe(self, batch: Batch, pause: Pause, attempt: Callable[[], Awaitable[Verdict]]) -> Verdict:
        """Wait until the dependency is back, or until it is this lane's turn to see if it is.

        Arguments:
            batch: whose next record needs the dependency.
            pause: for what, and why.
            attempt: hands the batch to the agent once, and commits nothing: that may have to wait for something else,
                while others wait for what the probe finds.

        Returns:
            the first verdict that is not that it is still down.
        """
        breaker = self._breakers.of(pause.dependency)
        handled = batch.handled
        while True:
            self._opens(breaker, pause.reason, pause.after)
            async with breaker.turn():
                verdict = await attempt()
                if batch.handled > handled:
                    # A record got through: the best evidence there is.
                    self._closes(breaker)
                    return verdict
                if isinstance(verdict, Pause) and verdict.dependency == pause.dependency:
                    pause = verdict  # still down
                elif not (isinstance(verdict, Retry) and breaker.state is BreakerState.HALF_OPEN):
                    return verdict  # it waits for something else now; the next in line probes, if there is one
                # Or it failed in another way while it probed, which proves nothing.
                breaker.open(pause.reason, pause.after)

    def _opens(self, breaker: Breaker, reason: str, interval: float) -> None:
        if breaker.open(reason, interval):
            logger.warning("%s is down: %s. The partitions that need it pause.", breaker.dependency, reason)
            self._meter.opened(breaker.dependency)
        self._standing.enter(State.PAUSED, reason or f"{breaker.dependency} is down")

    def _closes(self, breaker: Breaker) -> None:
        if breaker.close():
            logger.warning("%s is back", breaker.dependency)
