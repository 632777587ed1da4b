"""How long to wait before trying again, in Spring's arithmetic.

Outside, durations are seconds as ``float``, like everywhere in paystream. Inside they are whole milliseconds,
because that is what ``org.springframework.util.backoff`` (Spring Framework 7) reckons in, and its truncations
show: 10125 ms times 1.5 is followed by 15187, not 15187.5. Who knows a Spring service's pauses knows ours.

Two things differ from Spring, both so that a pause depends on nothing but its arguments:

* Spring's jitter is given in milliseconds, ours as a share of the initial interval: ``jitter=0.1`` with an
  initial interval of 500 ms is Spring's ``setJitter(50)``. A share stays right when the interval is changed.
* Spring stops when the pauses *it returned*, jitter included, add up to the maximum elapsed time; here the
  pauses before jitter are added up. So the number of retries is not itself a matter of chance.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

# Java's Long.MAX_VALUE, which is how Spring says "without limit".
_UNLIMITED: Final = 2**63 - 1


class BackOff(Protocol):
    """A rule for the pauses between the attempts at one record."""

    def delay(self, failures: int, random: Callable[[], float]) -> float | None:
        """Tell how long to pause before the attempt that follows a failure.

        Arguments:
            failures: which failure it was, counted from 1.
            random: returns a number in [0, 1), as :func:`random.random` does.

        Returns:
            the pause in seconds; None when there should be no further attempt.

        Raises:
            ValueError: `failures` is less than 1.
        """


@dataclass(frozen=True, slots=True)
class FixedBackOff:
    """The same pause every time; Spring's class of that name. It has no jitter there, so none here.

    Arguments:
        interval: the pause, in seconds.
        max_retries: attempts after the first; None for no limit.

    Raises:
        ValueError: a number is negative or not a number.
    """

    interval: float
    max_retries: int | None = None

    def __post_init__(self) -> None:
        _check(interval=self.interval, max_retries=self.max_retries)

    def delay(self, failures: int, random: Callable[[], float]) -> float | None:
        """Return the pause in seconds, or None when the retries are used up."""
        if _used_up(failures, self.max_retries):
            return None
        return _milliseconds(self.interval) / 1000


@dataclass(frozen=True, slots=True)
class ExponentialBackOff:
    """Each pause a multiple of the one before, up to a cap; Spring's class of that name.

    The pause before jitter starts at the initial interval and each next one is
    ``min(trunc(previous * multiplier), max_interval)``. With ``j = jitter_ms * (pause // initial)``, in whole
    milliseconds, the pause is drawn evenly from ``[max(pause - j, initial), min(pause + j, max_interval))``.
    So jitter never shortens the first pause, and what was drawn does not feed the next one.

    Arguments:
        initial_interval: first pause, in seconds.
        multiplier: 1 or more.
        max_interval: longest pause, in seconds.
        max_elapsed: no further attempt once the pauses before jitter add up to this many seconds.
        max_retries: attempts after the first; None for no limit.
        jitter: as a share of `initial_interval`; 0.1 is 10 %. With an initial interval of 0 there is none.

    Raises:
        ValueError: a number is negative or not a number, or the multiplier is less than 1.
    """

    initial_interval: float = 2.0
    multiplier: float = 1.5
    max_interval: float = 30.0
    max_elapsed: float = math.inf
    max_retries: int | None = None
    jitter: float = 0.0

    def __post_init__(self) -> None:
        _check(
            initial_interval=self.initial_interval,
            max_interval=self.max_interval,
            max_elapsed=self.max_elapsed,
            max_retries=self.max_retries,
            jitter=self.jitter,
        )
        if not 1 <= self.multiplier < math.inf:
            raise ValueError(f"multiplier is {self.multiplier}; it must be a number, 1 or more")

    def delay(self, failures: int, random: Callable[[], float]) -> float | None:
        """Return the pause in seconds, or None when retries or time are used up."""
        if _used_up(failures, self.max_retries):
            return None
        initial, cap = _milliseconds(self.initial_interval), _milliseconds(self.max_interval)
        pause, spent = _grown(initial, self.multiplier, cap, failures)
        if spent >= _milliseconds(self.max_elapsed):
            return None
        return min(self._jittered(pause, initial, cap, random), cap) / 1000

    def _jittered(self, pause: int, initial: int, cap: int, random: Callable[[], float]) -> int:
        jitter = _milliseconds(self.jitter * (initial / 1000))
        if not jitter:
            return pause
        reach = jitter * (pause // initial)
        low, high = max(pause - reach, initial), min(pause + reach, cap)
        return low + int(random() * (high - low))


@functools.lru_cache(maxsize=1024)
def _grown(initial: int, multiplier: float, cap: int, failures: int) -> tuple[int, int]:
    """Return the pause after a failure and the sum of those before it, in milliseconds, without jitter."""
    pause, spent = initial, 0
    for done in range(1, failures):
        spent += min(pause, cap)
        product = pause * multiplier
        following = cap if pause >= cap or product >= cap else int(product)
        if following == pause:  # at the cap, or so small that truncation eats the growth: it stays there
            return pause, spent + (failures - 1 - done) * pause
        pause = following
    return pause, spent


def _used_up(failures: int, max_retries: int | None) -> bool:
    if failures < 1:
        raise ValueError(f"failures are counted from 1, not {failures}")
    return max_retries is not None and failures > max_retries


def _milliseconds(seconds: float) -> int:
    return _UNLIMITED if seconds * 1000 >= _UNLIMITED else round(seconds * 1000)


def _check(**numbers: float | None) -> None:
    for name, number in numbers.items():
        if number is not None and not number >= 0:
            raise ValueError(f"{name} is {number}; it must be 0 or more")
