"""What Spring Kafka has written, as recorded byte for byte, is understood; no Java is needed for this."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import pytest
from interop.letters import KEY, LETTERS_OF, OFFSET, OWN_HEADERS, PARTITION, VALUE
from interop.recording import DUE_AT_MS, SECOND_HOP_AT_MS, WRITTEN_AT_MS, load, scenarios

from streams.dead_letters.reading import DeadLetterInfo, Hop, read_dead_letter
from streams.dead_letters.view import dead_letter_view
from streams.dead_letters.writing import Failure, Limits, Origin, dead_letter_headers
from streams.failure.errors import Stage, TransientError
from streams.failure.policy import Disposition

_WRAPPER: Final = "org.springframework.kafka.listener.ListenerExecutionFailedException"
_UNREADABLE: Final = "org.springframework.kafka.support.serializer.DeserializationException"
_BOOM: Final = {
    "exception_class": _WRAPPER,
    "cause_class": "java.lang.IllegalStateException",
    "message": "Listener failed; boom",
}
_AGAIN: Final = {
    "exception_class": _WRAPPER,
    "cause_class": "java.lang.UnsupportedOperationException",
    "message": "Listener failed; not here either",
}
_BAD_VALUE: Final = {
    "exception_class": _UNREADABLE,
    "cause_class": _UNREADABLE,
    "message": "failed to deserialize",
}
_BAD_KEY: Final = {"key_exception_class": _UNREADABLE, "key_exception_message": "failed to deserialize"}

_EXPECTED: Final[Mapping[str, Mapping[str, Any]]] = {
    "default": _BOOM,
    # The class behind Spring's own wrapper, not the deepest one.
    "old-suffix": _BOOM,
    "no-message": {**_BOOM, "message": "Listener failed; "},
    "delivery-attempt": {**_BOOM, "attempts": 3},
    "twice": _AGAIN,
    "twice-appending": _AGAIN,
    "unreadable-key": {"cause_class": _UNREADABLE, **_BAD_KEY},
    "unreadable-value": _BAD_VALUE,
    "unreadable-both": {**_BAD_VALUE, **_BAD_KEY},
    # What we had said of an earlier failure says nothing of Spring's.
    "after-ours": _BOOM,
    "retryable": {
        **_BOOM,
        "attempts": 3,
        "retry_original_timestamp_ms": WRITTEN_AT_MS,
        "retry_due_ms": DUE_AT_MS,
    },
}


def _first_hop(scenario: str) -> Hop:
    if scenario == "after-ours":
        return Hop("payment.completed", 3, 42, WRITTEN_AT_MS - 5_000, "CreateTime", "paystream.payments")
    return Hop(f"spring.{scenario}", PARTITION, OFFSET, WRITTEN_AT_MS, "CreateTime", "billing")


def _last_hop(scenario: str) -> Hop:
    if scenario == "after-ours":
        return Hop("spring.after-ours", PARTITION, OFFSET, WRITTEN_AT_MS, "CreateTime", "billing")
    if scenario.startswith("twice"):
        return Hop(f"spring.{scenario}.DLT", PARTITION, 0, SECOND_HOP_AT_MS, "CreateTime", "repair")
    return _first_hop(scenario)


def _without_traces(info: DeadLetterInfo) -> DeadLetterInfo:
    return dataclasses.replace(info, stacktrace=None, key_exception_stacktrace=None)


def test_every_scenario_has_been_recorded() -> None:
    assert scenarios() == sorted(LETTERS_OF) == sorted(_EXPECTED)


@pytest.mark.parametrize("scenario", _EXPECTED)
def test_the_record_itself_is_in_the_letter_to_the_byte(scenario: str) -> None:
    letter = load(scenario)
    assert (letter.key, letter.value) == (KEY, VALUE)
    assert letter.headers[: len(OWN_HEADERS)] == OWN_HEADERS


@pytest.mark.parametrize("scenario", _EXPECTED)
def test_a_letter_of_springs_is_understood(scenario: str) -> None:
    info = read_dead_letter(load(scenario).headers)
    assert _without_traces(info) == DeadLetterInfo(
        origin=_first_hop(scenario), last_hop=_last_hop(scenario), **_EXPECTED[scenario]
    )


@pytest.mark.parametrize("scenario", _EXPECTED)
def test_the_trace_is_that_of_the_latest_exception(scenario: str) -> None:
    info = read_dead_letter(load(scenario).headers)
    for trace, exception in (
        (info.stacktrace, info.exception_class),
        (info.key_exception_stacktrace, info.key_exception_class),
    ):
        assert (trace is None) == (exception is None)
        assert trace is None or trace.startswith(f"{exception}: ")
    if scenario.startswith("twice"):
        assert "not here either" in (info.stacktrace or "")


@pytest.mark.parametrize("scenario", _EXPECTED)
def test_what_is_shown_names_place_group_and_exception(scenario: str) -> None:
    letter, first, last = load(scenario), _first_hop(scenario), _last_hop(scenario)
    view = dead_letter_view(letter.topic, letter.partition, 7, letter.key, read_dead_letter(letter.headers))
    assert (view.topic, view.partition, view.offset, view.order_id) == (letter.topic, letter.partition, 7, "o1")
    assert (view.origin_topic, view.origin_partition, view.origin_offset) == (
        first.topic, first.partition, first.offset,
    )  # fmt: skip
    assert view.consumer_group == last.consumer_group
    assert view.exception_class == _EXPECTED[scenario]["cause_class"]


@pytest.mark.parametrize("scenario", _EXPECTED)
def test_a_letter_of_springs_that_fails_again_with_us_tells_of_our_failure(scenario: str) -> None:
    letter = load(scenario)
    here = Origin(letter.topic, letter.partition, 7, WRITTEN_AT_MS + 9_000, "CreateTime", "paystream.repair")
    failure = Failure(
        TransientError("no luck"), Stage.HANDLE, Disposition.EXHAUSTED, 6, WRITTEN_AT_MS / 1000, WRITTEN_AT_MS / 1000
    )
    info = read_dead_letter(dead_letter_headers(letter.headers, here, failure, Limits(1024, 8192)))
    assert info.origin == _first_hop(scenario)
    assert info.last_hop == Hop(**dataclasses.asdict(here))
    assert (info.stage, info.disposition, info.attempts, info.reason) == ("handle", "exhausted", 6, "no luck")
    assert info.exception_class == info.cause_class == "streams.failure.errors.TransientError"
    assert info.message == "no luck"
    assert info.key_exception_class is None
    assert info.unreadable == ()
