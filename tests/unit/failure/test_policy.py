from __future__ import annotations

import builtins
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from streams.failure.backoff import ExponentialBackOff, FixedBackOff
from streams.failure.errors import (
    DependencyUnavailable,
    HandlerTimeout,
    InputError,
    InvalidRecord,
    LaneFenced,
    PermanentError,
    RecordError,
    Stage,
    TransientError,
    Undecodable,
    Unpublishable,
)
from streams.failure.policy import (
    DeadLetter,
    Decision,
    Disposition,
    FailurePolicy,
    Pause,
    Retry,
    decide,
    safe_reason,
)
from streams.settings import FailureSettings

GROUP: Any = getattr(builtins, "ExceptionGroup", None)
POLICY = FailurePolicy(FixedBackOff(2, 3), max_elapsed=60, pause_interval=5, handler_timeout=10)
PERMANENT, EXHAUSTED = Disposition.PERMANENT, Disposition.EXHAUSTED


class Line(BaseModel):
    quantity: int
    unit_price: float


class Payment(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = ""
    method: Literal["CARD", "CASH"] = "CARD"
    age: int = 0
    lines: list[Line] = []

    @field_validator("age", mode="before")
    @classmethod
    def _age(cls, value: object) -> int:
        return int(str(value))


def refusal(text: str) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Payment.model_validate_json(text)
    return caught.value


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


NOT_JSON = refusal("{")
NOT_VALID = refusal('{"lines": [{"quantity": "x", "unit_price": 1}]}')
NOT_VALID_REASON = "lines.0.quantity: Input should be a valid integer, unable to parse string as an integer"

TABLE: list[tuple[Exception, Decision]] = [
    # cannot be helped: dead-lettered at the first attempt
    (Undecodable("not UTF-8"), DeadLetter("not UTF-8", Stage.DECODE, PERMANENT)),
    (InvalidRecord("no lines"), DeadLetter("no lines", Stage.VALIDATE, PERMANENT)),
    (Unpublishable("too large"), DeadLetter("too large", Stage.PUBLISH, PERMANENT)),
    (PermanentError("closed"), DeadLetter("closed", Stage.HANDLE, PERMANENT)),
    (NOT_VALID, DeadLetter(NOT_VALID_REASON, Stage.VALIDATE, PERMANENT)),
    # may pass
    (TransientError("busy"), Retry(2)),
    (HandlerTimeout("too slow"), Retry(2)),
    (RecordError("odd"), Retry(2)),
    (KeyError("sku"), Retry(2)),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), Retry(2)),
    # an outage is no fault of the record
    (DependencyUnavailable("database", "refused"), Pause("database", 5)),
    # the first exception that says what it is decides
    (
        caused(RuntimeError("a"), InvalidRecord("no lines")),
        DeadLetter("no lines", Stage.VALIDATE, PERMANENT),
    ),
    (
        caused(RuntimeError("a"), caused(KeyError("b"), NOT_VALID)),
        DeadLetter(NOT_VALID_REASON, Stage.VALIDATE, PERMANENT),
    ),
    (caused(TransientError("service"), NOT_VALID), Retry(2)),
    (
        caused(InvalidRecord("no"), DependencyUnavailable("database")),
        DeadLetter("no", Stage.VALIDATE, PERMANENT),
    ),
    (caused(OSError("a"), DependencyUnavailable("database")), Pause("database", 5)),
    # what was merely being handled meanwhile explains nothing
    (caused(TimeoutError(), KeyboardInterrupt()), Retry(2)),
]


@pytest.mark.parametrize(("error", "decision"), TABLE, ids=lambda each: type(each).__name__)
def test_the_first_failure_is_judged_by_its_class(error: Exception, decision: Decision) -> None:
    assert decide(error, 1, 0.0, POLICY) == decision


@pytest.mark.parametrize(
    ("attempt", "elapsed", "exhausted"),
    [
        (3, 4.0, False),
        (4, 6.0, True),  # three retries are four attempts
        (1, 59.9, False),
        (2, 60.0, True),
    ],
)
def test_attempts_and_time_are_both_used_up(attempt: int, elapsed: float, exhausted: bool) -> None:
    decision = decide(TransientError("busy"), attempt, elapsed, POLICY)
    assert decision == (DeadLetter("busy", Stage.HANDLE, EXHAUSTED) if exhausted else Retry(2))


@pytest.mark.parametrize(
    ("asked", "elapsed", "after"),
    [
        (0.0, 0.0, 2.0),  # it does not say
        (1.0, 0.0, 2.0),  # never sooner than the back-off
        (7.0, 0.0, 7.0),
        (60.0, 0.0, 60.0),
        (9_999.0, 0.0, 60.0),  # not beyond the policy's own time
        (9_999.0, 50.0, 10.0),
        (9_999.0, 59.5, 2.0),
        (-5.0, 0.0, 2.0),
        (float("inf"), 0.0, 60.0),
    ],
)
def test_who_asks_to_be_left_alone_is_as_far_as_there_is_time(asked: float, elapsed: float, after: float) -> None:
    assert decide(TransientError("busy", after=asked), 1, elapsed, POLICY) == Retry(after)
    assert decide(caused(RuntimeError("a"), TransientError("busy", after=asked)), 1, elapsed, POLICY) == Retry(after)


def test_nobody_is_left_alone_for_longer_than_five_minutes() -> None:
    patient = replace(POLICY, max_elapsed=86_400)
    assert decide(TransientError("busy", after=9_999), 1, 0.0, patient) == Retry(300)
    assert decide(DependencyUnavailable("api", after=9_999), 1, 0.0, patient) == Pause("api", 300)


@pytest.mark.parametrize(("asked", "after"), [(0.0, 5.0), (4.0, 5.0), (90.0, 90.0)])
def test_a_dependency_that_asks_to_be_left_alone_is(asked: float, after: float) -> None:
    assert decide(DependencyUnavailable("api", "busy", after=asked), 9, 99.0, POLICY) == Pause("api", after)


def test_to_ask_for_time_gives_no_further_attempts() -> None:
    assert isinstance(decide(TransientError("busy", after=9), 4, 0.0, POLICY), DeadLetter)
    assert isinstance(decide(TransientError("busy", after=9), 1, 60.0, POLICY), DeadLetter)


def test_an_exhausted_record_keeps_the_stage_of_its_error() -> None:
    error = TransientError("broker is busy")
    error.stage = Stage.PUBLISH
    assert decide(error, 9, 0.0, POLICY) == DeadLetter("broker is busy", Stage.PUBLISH, EXHAUSTED)


@given(st.integers(1, 10**6), st.floats(0, 1e9))
def test_however_long_an_outage_lasts_nothing_is_dead_lettered_for_it(attempt: int, elapsed: float) -> None:
    assert decide(DependencyUnavailable("smtp"), attempt, elapsed, POLICY) == Pause("smtp", 5)


def test_a_failure_of_the_machinery_is_not_the_policys_to_decide() -> None:
    error = LaneFenced("another worker has it")
    with pytest.raises(LaneFenced) as raised:
        decide(error, 1, 0.0, POLICY)
    assert raised.value is error


def test_chance_is_the_callers_to_give() -> None:
    policy = FailurePolicy(
        ExponentialBackOff(1, 2, 30, jitter=0.5), max_elapsed=60, pause_interval=5, handler_timeout=10
    )
    assert decide(KeyError(), 2, 1.0, policy, random=lambda: 0.0) == Retry(1.0)
    assert decide(KeyError(), 2, 1.0, policy, random=lambda: 0.75) == Retry(2.5)


def test_causes_that_bite_their_own_tail_are_followed_once() -> None:
    first, second = RuntimeError("a"), KeyError("b")
    first.__cause__, second.__cause__ = second, first
    assert decide(first, 1, 0.0, POLICY) == Retry(2)


@pytest.mark.skipif(GROUP is None, reason="exception groups came with Python 3.11")
def test_an_outage_inside_a_task_group_is_still_an_outage() -> None:
    group = GROUP("tasks", [KeyError("sku"), DependencyUnavailable("database")])
    assert decide(group, 9, 99.0, POLICY) == Pause("database", 5)


def test_text_that_is_no_json_failed_in_decoding() -> None:
    decision = decide(NOT_JSON, 1, 0.0, POLICY)
    assert isinstance(decision, DeadLetter)
    assert (decision.stage, decision.disposition) == (Stage.DECODE, PERMANENT)
    assert decision.reason == "Invalid JSON: EOF while parsing an object at line 1 column 1"


def test_the_policy_is_read_from_the_settings() -> None:
    assert FailurePolicy.of(FailureSettings()) == FailurePolicy(
        backoff=ExponentialBackOff(0.5, 2.0, 30.0, 300.0, 5, 0.1),
        max_elapsed=300.0,
        pause_interval=5.0,
        handler_timeout=60.0,
    )
    fixed = FailurePolicy.of(FailureSettings(backoff="fixed", initial_interval=3, max_retries=7))
    assert fixed.backoff == FixedBackOff(3, 7)


# -- safe_reason -------------------------------------------------------------------------------------


def test_our_own_errors_are_quoted_on_one_line_and_without_control_characters() -> None:
    assert safe_reason(InvalidRecord("no\n lines\x1b[31m, \u2028at all")) == "no lines [31m, at all"
    assert safe_reason(InputError("a.csv", "is empty")) == "a.csv: is empty"


def test_an_error_of_ours_that_says_nothing_is_named() -> None:
    assert safe_reason(TransientError()) == "streams.failure.errors.TransientError"


def test_of_anything_else_only_the_class_is_told() -> None:
    assert safe_reason(KeyError("4111 1111 1111 1111")) == "builtins.KeyError"
    assert safe_reason(caused(RuntimeError("Jane"), KeyError("Doe"))) == "builtins.RuntimeError"


def test_an_exception_that_cannot_even_be_printed_has_a_reason() -> None:
    class MuteError(TransientError):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert safe_reason(MuteError()).endswith(".MuteError")


def test_the_first_three_problems_are_named_and_the_others_counted() -> None:
    error = refusal('{"lines": [{}, {}, {"quantity": 1}]}')
    assert safe_reason(error) == (
        "lines.0.quantity: Field required; lines.0.unit_price: Field required; "
        "lines.1.quantity: Field required; and 2 more"
    )


@pytest.mark.parametrize("name", ["Jane Doe", "Al", "4", "O'Brien", "\\", "  ", "0x\u00e9"])
def test_a_validator_that_quotes_the_value_has_it_masked(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Payment.model_validate({"age": f"<{name}>"})
    assert safe_reason(caught.value) == "age: Value error, invalid literal for int() with base 10: …"


def test_short_values_are_masked_where_they_stand_in_quotes() -> None:
    with pytest.raises(ValidationError) as caught:
        Payment.model_validate({"age": "?"})
    assert safe_reason(caught.value) == "age: Value error, invalid literal for int() with base 10: …"


def test_a_key_that_the_sender_made_up_is_not_repeated() -> None:
    assert safe_reason(refusal('{"jane@example.com": 1}')) == "?: Extra inputs are not permitted"


def test_a_number_of_ten_thousand_digits_does_not_break_the_reason() -> None:
    with pytest.raises(ValidationError) as caught:
        Payment.model_validate({"name": 10**10_000})
    assert safe_reason(caught.value) == "name: Input should be a valid string"


def test_of_a_record_too_large_to_be_searched_only_the_kind_of_error_is_told() -> None:
    class Order(BaseModel):
        lines: list[str]

        @field_validator("lines")
        @classmethod
        def _lines(cls, lines: list[str]) -> list[str]:
            raise ValueError(f"{lines[0]} is sold out")

    for count, reason in ((10, "lines: Value error, … is sold out"), (10_000, "lines: value_error")):
        with pytest.raises(ValidationError) as caught:
            Order.model_validate({"lines": ["lantern"] * count})
        assert safe_reason(caught.value) == reason


def test_a_validator_that_compares_fields_may_name_them_but_not_their_values() -> None:
    class Sum(BaseModel):
        amount: str
        extra: dict[str, int] = {}

        @model_validator(mode="after")
        def _adds_up(self) -> Sum:
            raise ValueError(f"amount {self.amount} contradicts {list(self.extra)}")

    with pytest.raises(ValidationError) as caught:
        Sum.model_validate({"amount": "139.12", "extra": {"jane@example.com": 1}})
    assert safe_reason(caught.value) == "Value error, amount … contradicts […]"


SECRET = st.text(min_size=3, max_size=30).map(lambda text: f"<{text}>")


@given(SECRET, SECRET)
def test_no_reason_quotes_the_record(one: str, other: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Payment.model_validate({"name": 1, "method": one, "age": other, "lines": [{"quantity": one}]})
    reason = safe_reason(caught.value)
    assert one not in reason
    assert other not in reason
    assert repr(one)[1:-1] not in reason
    assert repr(other)[1:-1] not in reason
    assert len(reason.splitlines()) == 1
