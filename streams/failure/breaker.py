"""A circuit breaker per dependency: while it is down, one lane probes it and all others wait.

::

            a handler raised DependencyUnavailable
    CLOSED ───────────────────────────────────────▶ OPEN ◀────────────┐
      ▲                                               │ interval over │ the probe failed
      │ the probe succeeded                           ▼               │
      └───────────────────────────────────────── HALF_OPEN ───────────┘

The probe is the handler itself, with the record that failed: nothing else says as well whether a
dependency works again.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any


class BreakerState(str, enum.Enum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """What an operator wants to know of a breaker."""

    dependency: str
    state: BreakerState
    reason: str
    seconds_open: float
    waiting: int
    times_opened: int


class Breaker:
    """The breaker of one dependency, shared by all lanes of a worker.

    Arguments:
        dependency: its name.
        clock: monotonic seconds.
    """

    def __init__(self, dependency: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.dependency = dependency
        self.state = BreakerState.CLOSED
        self.reason = ""
        self.times_opened = 0
        self._clock = clock
        self._opened_at = 0.0
        self._probe_at = 0.0
        self._waiting = 0
        self._prober: asyncio.Task[Any] | None = None
        self._changed = asyncio.Event()

    def open(self, reason: str, interval: float) -> bool:
        """The dependency failed: let nobody through for `interval` seconds; say whether that is news."""
        now = self._clock()
        news = self.state is BreakerState.CLOSED
        if self.state is BreakerState.HALF_OPEN and asyncio.current_task() is not self._prober:
            return False  # what began before the probe and failed late says nothing of the probe
        if news:
            self._opened_at = now
            self.times_opened += 1
        if self.state is not BreakerState.OPEN:
            self._probe_at = now + interval
        self.state = BreakerState.OPEN
        self.reason = reason
        self._wake()
        return news

    def close(self) -> bool:
        """The dependency works: let everybody through; say whether that is news."""
        if self.state is BreakerState.CLOSED:
            return False
        self.state = BreakerState.CLOSED
        self.reason = ""
        self._wake()
        return True

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until the breaker is closed, or until the caller is the one to probe; then try.

        Inside, the caller says how it went by calling :meth:`open` or :meth:`close`. A probe that leaves
        without an answer (its lane was stopped) lets the next in line probe at once.
        """
        self._waiting += 1
        try:
            probing = await self._wait()
        except BaseException:
            self._waiting -= 1
            self._forget_if_deserted()
            raise
        self._waiting -= 1
        if not probing:
            yield
            return
        self._prober = asyncio.current_task()
        try:
            yield
        finally:
            self._prober = None
            if self.state is BreakerState.HALF_OPEN:
                self.state = BreakerState.OPEN
                self._forget_if_deserted()
                self._wake()

    def _forget_if_deserted(self) -> None:
        """Nobody here needs the dependency any more, so nobody would find out that it is back."""
        if self._waiting == 0 and self._prober is None and self.state is BreakerState.OPEN:
            self.close()

    async def _wait(self) -> bool:
        while True:
            if self.state is BreakerState.CLOSED:
                return False
            remaining = self._probe_at - self._clock()
            if self.state is BreakerState.OPEN and remaining <= 0:
                self.state = BreakerState.HALF_OPEN
                return True
            changed = self._changed
            waiter = asyncio.ensure_future(changed.wait())
            # While another one probes there is nothing to wait for but its answer.
            timeout = remaining if self.state is BreakerState.OPEN else None
            try:
                await asyncio.wait({waiter}, timeout=timeout)
            finally:
                waiter.cancel()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def status(self) -> BreakerStatus:
        """Describe the breaker as it stands now."""
        shut = self.state is BreakerState.CLOSED
        return BreakerStatus(
            self.dependency,
            self.state,
            self.reason,
            0.0 if shut else self._clock() - self._opened_at,
            self._waiting,
            self.times_opened,
        )


class Breakers:
    """All breakers of a worker, made as dependencies are heard of."""

    def __init__(self) -> None:
        self._breakers: dict[str, Breaker] = {}

    def of(self, dependency: str) -> Breaker:
        """Return the dependency's breaker."""
        breaker = self._breakers.get(dependency)
        if breaker is None:
            breaker = self._breakers[dependency] = Breaker(dependency)
        return breaker

    def statuses(self) -> list[BreakerStatus]:
        """Describe all breakers."""
        return [breaker.status() for breaker in self._breakers.values()]

    @property
    def any_open(self) -> bool:
        """Whether some dependency is down."""
        return any(breaker.state is not BreakerState.CLOSED for breaker in self._breakers.values())
