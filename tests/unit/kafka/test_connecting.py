"""What is remembered of brokers that do not let us in."""

from __future__ import annotations

import logging

import pytest
from support.agent import unique

from streams.kafka.connecting import Troubles
from streams.kafka.refusals import Failure


def failure(what: str) -> Failure:
    """Make one that no other test has: what is said once a minute is so for all of a process."""
    return Failure(f"broker 1 at {unique('kafka')}:9093 {what}", refused=True)


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
    refused, expired = failure("refuses the password"), failure("shows a certificate that has expired")
    for _ in range(100):
        troubles.failed("kafka-1:9093", refused)
    assert caplog.messages == [refused.text]
    troubles.failed("kafka-1:9093", expired)
    assert caplog.messages == [refused.text, expired.text]


def test_what_has_passed_is_said_once(troubles: Troubles, caplog: pytest.LogCaptureFixture) -> None:
    refused = failure("refuses the password")
    caplog.set_level(logging.WARNING)
    troubles.passed("kafka-1:9093")
    assert caplog.messages == []
    troubles.failed("kafka-1:9093", refused)
    troubles.passed("kafka-1:9093")
    troubles.passed("kafka-1:9093")
    assert caplog.messages == [refused.text, f"that has passed: {refused.text}"]


def test_a_connection_or_two_that_fail_are_no_trouble(clock: Clock, troubles: Troubles) -> None:
    refused = failure("refuses the password")
    for clock.now in (0.0, 1.0, 4.0):
        troubles.failed("kafka-1:9093", refused)
        assert troubles.lasting() == ""
    clock.now = 5.0
    troubles.failed("kafka-1:9093", refused)
    assert troubles.lasting() == refused.text


def test_what_nobody_tries_any_more_is_in_nobodys_way(clock: Clock, troubles: Troubles) -> None:
    refused = failure("refuses the password")
    for clock.now in (0.0, 6.0):
        troubles.failed("kafka-1:9093", refused)
    assert troubles.lasting() == refused.text
    clock.now = 17.0
    assert troubles.lasting() == ""
