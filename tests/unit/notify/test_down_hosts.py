from __future__ import annotations

from contextlib import suppress

import pytest

from streams.failure.errors import PermanentError, RecordError, TransientError
from streams.notify.down_hosts import DownHosts
from streams.notify.webhook import NeverAsked, WebhookDown


class Hosts:
    """Hosts, and a clock that stands still unless it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.hosts = DownHosts(lambda: self.now)

    def give(self, message: str, outcome: Exception | None = None, host: str = "down.example") -> bool:
        """Give a host a message with this outcome; say whether it was given it at all."""
        given = False
        with suppress(RecordError), self.hosts.attempt(host, message):
            given = True
            if outcome is not None:
                raise outcome
        return given

    def fail(self, *messages: str, seconds: float = 10.0) -> None:
        """Let messages fail, so many seconds apart."""
        for message in messages:
            assert self.give(message, WebhookDown("no answer"))
            self.now += seconds


@pytest.fixture
def hosts() -> Hosts:
    return Hosts()


def test_a_host_that_does_not_answer_is_passed_over_after_three_messages(hosts: Hosts) -> None:
    hosts.fail("a", "b", "c")
    with (
        pytest.raises(PermanentError, match=r"webhook down\.example has been down since 1970-01-12 13:46Z"),
        hosts.hosts.attempt("down.example", "d"),
    ):
        pytest.fail("it is not to be called")
    assert hosts.give("d", host="other.example")


def test_it_is_the_hosts_fault_whichever_of_its_customers_is_to_be_told(hosts: Hosts) -> None:
    hosts.fail("a", "b", "c")
    with pytest.raises(PermanentError) as passed_over, hosts.hosts.attempt("down.example", "d"):
        pytest.fail("it is not to be called")
    assert passed_over.value.culprit == "host down.example"
    with pytest.raises(WebhookDown) as down, hosts.hosts.attempt("other.example", "e"):
        raise WebhookDown("no answer")
    assert down.value.culprit == "host other.example"


def test_one_message_that_is_tried_again_and_again_does_not_condemn_a_host(hosts: Hosts) -> None:
    hosts.fail(*"aaaaaaaaabb")
    assert hosts.give("c")


def test_a_host_that_restarts_fails_many_messages_at_once_and_is_not_down_for_it(hosts: Hosts) -> None:
    hosts.fail(*"abcdefgh", seconds=1.0)
    assert hosts.give("i")


@pytest.mark.parametrize(
    "answer", [None, TransientError("odd"), PermanentError("403")], ids=["success", "odd", "refused"]
)
def test_any_answer_in_between_shows_that_it_is_up(hosts: Hosts, answer: Exception | None) -> None:
    hosts.fail("a", "b")
    assert hosts.give("b", answer)
    hosts.fail("c", "d")
    assert hosts.give("e")


def test_what_failed_long_ago_does_not_count(hosts: Hosts) -> None:
    hosts.fail("a", "b", seconds=61.0)
    hosts.fail("c", "d", seconds=0.1)
    assert hosts.give("e")


def test_a_message_that_could_not_even_be_sent_says_nothing_of_the_host(hosts: Hosts) -> None:
    hosts.fail("a", "b")
    assert hosts.give("c", NeverAsked("a bad secret"))
    hosts.fail("d")
    assert not hosts.give("e")


def test_it_is_tried_once_a_minute_until_it_answers(hosts: Hosts) -> None:
    hosts.fail("a", "b", "c")
    hosts.now += 60
    assert hosts.give("d", WebhookDown("503"))
    assert not hosts.give("d"), "it has had its one try"
    hosts.now += 59
    assert not hosts.give("e")
    hosts.now += 1
    assert hosts.give("f")
    assert hosts.give("g")
    assert hosts.give("h")


def test_only_one_tries_at_a_time(hosts: Hosts) -> None:
    hosts.fail("a", "b", "c")
    hosts.now += 60
    with hosts.hosts.attempt("down.example", "d"):
        assert not hosts.give("e")


def test_a_clock_that_is_set_back_keeps_no_host_out(hosts: Hosts) -> None:
    hosts.fail("a", "b", "c")
    hosts.now -= 3_600
    assert hosts.give("d")


def test_a_message_that_is_cancelled_says_nothing_of_the_host(hosts: Hosts) -> None:
    hosts.fail("a", "b")
    with pytest.raises(KeyboardInterrupt), hosts.hosts.attempt("down.example", "b"):
        raise KeyboardInterrupt
    hosts.fail("c")
    assert not hosts.give("d")
