"""What is remembered of brokers that do not let us in."""

from __future__ import annotations

import logging

import pytest

from streams.kafka.connecting import Troubles
from streams.kafka.refusals import Failure

REFUSED = Failure("broker 1 at kafka-1:9093 refuses the password", refused=True)
EXPIRED = Failure("broker 1 at kafka-1:9093 shows a certificate that has expired", refused=True)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def troubles(clock: Clock) -> Troubles:
    return Troubles(clock)


def test_a_refusal_is_said_once_however_often_it_comes(troubles: Troubles, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(100):
        troubles.failed("kafka-1:9093", REFUSED)
    assert caplog.messages == [REFUSED.text]
    troubles.failed("kafka-1:9093", EXPIRED)
    assert caplog.messages == [REFUSED.text, EXPIRED.text]


def test_what_has_passed_is_said_once(troubles: Troubles, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    troubles.passed("kafka-1:9093")
    assert caplog.messages == []
    troubles.failed("kafka-1:9093", REFUSED)
    troubles.passed("kafka-1:9093")
    troubles.passed("kafka-1:9093")
    assert caplog.messages == [REFUSED.text, f"that has passed: {REFUSED.text}"]


def test_a_connection_or_two_that_fail_are_no_trouble(clock: Clock, troubles: Troubles) -> None:
    for clock.now in (0.0, 1.0, 4.0):
        troubles.failed("kafka-1:9093", REFUSED)
        assert troubles.lasting() == ""
    clock.now = 5.0
    troubles.failed("kafka-1:9093", REFUSED)
    assert troubles.lasting() == REFUSED.text


def test_what_nobody_tries_any_more_is_in_nobodys_way(clock: Clock, troubles: Troubles) -> None:
    for clock.now in (0.0, 6.0):
        troubles.failed("kafka-1:9093", REFUSED)
    assert troubles.lasting() == REFUSED.text
    clock.now = 17.0
    assert troubles.lasting() == ""
