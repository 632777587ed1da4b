"""What is let through of what aiokafka says."""

from __future__ import annotations

import logging

import pytest
from aiokafka import client, cluster, conn
from aiokafka.consumer import consumer, fetcher, group_coordinator
from aiokafka.producer import producer, sender

from streams.kafka import client_log
from streams.kafka.client_log import OnceAMinute, silent_clients


class Log:
    """A filter, and a clock that stands still unless it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.filter = OnceAMinute(lambda: self.now)

    def say(self, message: str, *values: object, level: int = logging.ERROR, name: str = "aiokafka") -> str:
        """Return what is let through of a message; nothing if it is held back."""
        record = logging.LogRecord(name, level, "client.py", 1, message, values, None)
        return record.getMessage() if self.filter.filter(record) else ""


@pytest.fixture
def log() -> Log:
    return Log()


def test_a_message_passes_once_a_minute_and_then_says_how_often_it_was_held_back(log: Log) -> None:
    assert log.say("Unable connect to node with id %s", 1) == "Unable connect to node with id 1"
    for second in range(59):
        log.now = 1_000.0 + second
        assert log.say("Unable connect to node with id %s", second) == ""
    log.now = 1_060.0
    assert log.say("Unable connect to node with id %s", 2) == (
        "Unable connect to node with id 2 (held back since the last time: 59)"
    )
    log.now = 1_120.0
    assert log.say("Unable connect to node with id %s", 3) == "Unable connect to node with id 3"


def test_the_loggers_that_are_filtered_are_those_of_the_client() -> None:
    modules = (client, cluster, conn, consumer, fetcher, group_coordinator, producer, sender)
    assert {module.log.name for module in modules} == set(client_log._LOGGERS)


def test_other_messages_levels_and_loggers_pass_meanwhile(log: Log) -> None:
    assert log.say("Failed fetch messages from %s", 1)
    assert log.say("Unable to update metadata from %s", [1])
    assert log.say("Failed fetch messages from %s", 1, level=logging.WARNING)
    assert log.say("Failed fetch messages from %s", 1, name="aiokafka.consumer.fetcher")
    assert not log.say("Failed fetch messages from %s", 2)


def test_a_message_with_percent_signs_in_what_it_is_filled_in_with_stays_as_it_is(log: Log) -> None:
    log.say("Unable: %s", "100%")
    log.say("Unable: %s", "100%")
    log.now += 60
    assert log.say("Unable: %s", "100 %s").startswith("Unable: 100 %s (held back since the last time: 1)")


def test_silence_lasts_until_the_last_of_those_who_want_it_is_done() -> None:
    logger = logging.getLogger("aiokafka")
    before = logger.level
    one, other = silent_clients(), silent_clients()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert logger.level == logging.CRITICAL
    other.__exit__(None, None, None)
    assert logger.level == before
