"""The tables were printed by Spring Framework 7.0.9's own classes; jitter's bounds are from its formula."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.failure.backoff import BackOff, ExponentialBackOff, FixedBackOff


def never() -> float:
    raise AssertionError("a pause without jitter must not be left to chance")


def milliseconds(backoff: BackOff, count: int) -> list[int | None]:
    pauses: list[int | None] = []
    for failures in range(1, count + 1):
        pause = backoff.delay(failures, never)
        pauses.append(None if pause is None else round(pause * 1000))
        if pause is None:
            break
    return pauses


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        # Spring's defaults: truncated, not rounded, at 15187 and 22780; then the cap
        (
            ExponentialBackOff(),
            [2000, 3000, 4500, 6750, 10125, 15187, 22780, 30000, 30000, 30000],
        ),
        (ExponentialBackOff(0.5, 2, 30, 300, 5), [500, 1000, 2000, 4000, 8000, None]),
        # the limit on time is looked at before a pause, so the sum may pass it
        (ExponentialBackOff(1, 2, 30, 5), [1000, 2000, 4000, None]),
        # and a sum equal to the limit is the end
        (ExponentialBackOff(1, 2, 30, 3), [1000, 2000, None]),
        (ExponentialBackOff(1, 2, 30, 0.001), [1000, None]),
        (ExponentialBackOff(0.7, 1, 30, 2.1), [700, 700, 700, None]),
        # 1.1 times 9 is 9.9, truncated to 9 for ever
        (ExponentialBackOff(0.009, 1.1, 1), [9] * 6),
        (ExponentialBackOff(0.01, 1.1, 1), [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22]),
        (ExponentialBackOff(0.007, 1.7, 0.333), [7, 11, 18, 30, 51, 86, 146, 248, 333, 333, 333]),
        (ExponentialBackOff(5, 2, 1), [1000, 1000, 1000, 1000]),
        (ExponentialBackOff(0, 2, 1, max_retries=4), [0, 0, 0, 0, None]),
        (ExponentialBackOff(0.1, 2, 0, max_retries=3), [0, 0, 0, None]),
        (ExponentialBackOff(0.001, 1e300, 30, max_retries=3), [1, 30000, 30000, None]),
        (ExponentialBackOff(0.1, 2, 1, max_retries=0), [None]),
        (FixedBackOff(0.25, 3), [250, 250, 250, None]),
        # Spring Kafka's own default: ten attempts without a pause
        (FixedBackOff(0, 9), [0] * 9 + [None]),
        (FixedBackOff(0.25, 0), [None]),
        (FixedBackOff(5), [5000] * 20),
    ],
)
def test_the_pauses_are_springs(backoff: BackOff, expected: list[int | None]) -> None:
    assert milliseconds(backoff, len(expected)) == expected


@pytest.mark.parametrize(
    ("failures", "low", "high"),
    # As seen in three million draws of Spring's class with setJitter(50) and the same intervals.
    [
        (1, 500, 549),
        (2, 900, 1099),
        (3, 1800, 2199),
        (4, 3600, 4399),
        (5, 7200, 8799),
        (6, 14400, 17599),
        (7, 27000, 29999),
        (8, 27000, 29999),
    ],
)
def test_a_share_of_a_tenth_jitters_as_springs_fifty_milliseconds_of_five_hundred(
    failures: int, low: int, high: int
) -> None:
    backoff = ExponentialBackOff(0.5, 2, 30, jitter=0.1)
    almost_one = math.nextafter(1, 0)
    assert backoff.delay(failures, lambda: 0.0) == low / 1000
    assert backoff.delay(failures, lambda: almost_one) == high / 1000


def test_the_jitter_grows_by_whole_multiples_of_the_first_pause() -> None:
    backoff = ExponentialBackOff(2, 1.5, 30, jitter=0.1)
    # 3000 ms is once 2000 ms, 4500 ms is twice: 200 ms off, then 400 ms
    assert backoff.delay(2, lambda: 0.0) == 2.8
    assert backoff.delay(3, lambda: 0.0) == 4.1


def test_what_was_drawn_does_not_feed_the_next_pause() -> None:
    backoff = ExponentialBackOff(0.5, 2, 30, jitter=0.5)
    assert backoff.delay(1, lambda: 0.9) != 0.5
    assert backoff.delay(2, lambda: 0.5) == 1.0


def test_without_an_initial_interval_there_is_nothing_to_take_a_share_of() -> None:
    assert ExponentialBackOff(0, 2, 30, jitter=0.5).delay(3, never) == 0


def test_the_hundred_thousandth_pause_is_known_at_once_and_still_counts_those_before_it() -> None:
    backoff = ExponentialBackOff(1, 2, 30, max_elapsed=31 + 30 * 99_993)
    # 1 + 2 + 4 + 8 + 16 = 31 s are spent in five pauses, each of the others takes 30 s
    assert backoff.delay(99_998, never) == 30
    assert backoff.delay(99_999, never) is None


@pytest.mark.parametrize("backoff", [FixedBackOff(1, 3), ExponentialBackOff()])
def test_failures_are_counted_from_one(backoff: BackOff) -> None:
    with pytest.raises(ValueError, match="counted from 1, not 0"):
        backoff.delay(0, never)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"initial_interval": -1}, "initial_interval is -1"),
        ({"max_interval": math.nan}, "max_interval is nan"),
        ({"max_elapsed": -0.1}, "max_elapsed is -0.1"),
        ({"max_retries": -1}, "max_retries is -1"),
        ({"jitter": -0.1}, "jitter is -0.1"),
        ({"multiplier": 0.9}, "multiplier is 0.9"),
        ({"multiplier": math.inf}, "multiplier is inf"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExponentialBackOff(**arguments)  # type: ignore[arg-type]


def test_a_fixed_back_off_refuses_a_negative_interval() -> None:
    with pytest.raises(ValueError, match="interval is -1"):
        FixedBackOff(-1)


INTERVALS = st.integers(0, 60_000).map(lambda ms: ms / 1000)


@st.composite
def exponential(draw: st.DrawFn, jitter: st.SearchStrategy[float]) -> ExponentialBackOff:
    initial = draw(INTERVALS)
    return ExponentialBackOff(
        initial_interval=initial,
        multiplier=draw(st.floats(1, 10)),
        max_interval=initial + draw(INTERVALS),
        max_elapsed=draw(st.one_of(st.just(math.inf), st.floats(0, 600))),
        max_retries=draw(st.one_of(st.none(), st.integers(0, 50))),
        jitter=draw(jitter),
    )


@given(exponential(st.just(0.0)))
def test_without_jitter_pauses_never_shrink_and_once_stopped_it_stays_stopped(
    backoff: ExponentialBackOff,
) -> None:
    pauses = [backoff.delay(failures, never) for failures in range(1, 40)]
    given_up = list(itertools.dropwhile(lambda pause: pause is not None, pauses))
    assert given_up == [None] * len(given_up)
    made = [pause for pause in pauses if pause is not None]
    assert made == sorted(made)
    # Every pause but the last began before the time was up.
    assert sum(made[:-1]) < backoff.max_elapsed + 0.001 or not made[:-1]


@given(exponential(st.floats(0, 3)), st.integers(1, 40), st.randoms(use_true_random=False))
def test_a_pause_is_never_below_the_first_nor_above_the_longest(
    backoff: ExponentialBackOff, failures: int, chance: random.Random
) -> None:
    pause = backoff.delay(failures, chance.random)
    if pause is not None:
        assert backoff.initial_interval - 0.0005 <= pause <= backoff.max_interval + 0.0005


@given(exponential(st.floats(0, 3)), st.integers(1, 40), st.floats(0, 1, exclude_max=True))
def test_a_pause_depends_on_nothing_but_its_arguments(backoff: ExponentialBackOff, failures: int, drawn: float) -> None:
    first = backoff.delay(failures, lambda: drawn)
    backoff.delay(failures + 1, lambda: drawn)
    assert backoff.delay(failures, lambda: drawn) == first
