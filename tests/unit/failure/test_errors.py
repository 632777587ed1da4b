from __future__ import annotations

import re

import pytest

from streams.failure import errors
from streams.failure.errors import (
    AgentContractBroken,
    BrokerUnreachable,
    DependencyUnavailable,
    ExitStatus,
    InputError,
    InvalidRecord,
    MachineryFailure,
    PaystreamError,
    PermanentError,
    RecordError,
    SetupError,
    Stage,
    TransientError,
    Undecodable,
    Unpublishable,
)

CLASSES = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, PaystreamError)]


def test_the_tree_drawn_in_the_docstring_is_the_tree_there_is() -> None:
    drawn: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([│├└─ ]*)([A-Z]\w+)(?:\s{2,}|$)", line)
        if found is None:
            continue
        depth = len(found[1])
        while path and path[-1][0] >= depth:
            path.pop()
        drawn[found[2]] = path[-1][1] if path else "Exception"
        path.append((depth, found[2]))
    assert drawn == {each.__name__: each.__bases__[0].__name__ for each in CLASSES}


@pytest.mark.parametrize("error", CLASSES, ids=lambda each: each.__name__)
def test_every_error_is_an_exception_and_says_when_it_is_raised(error: type[PaystreamError]) -> None:
    assert issubclass(error, Exception)
    assert (error.__doc__ or "").rstrip().endswith((".", "``)"))
    assert error.exit_status in ExitStatus


@pytest.mark.parametrize(
    ("error", "stage"),
    [
        (Undecodable("x"), Stage.DECODE),
        (InvalidRecord("x"), Stage.VALIDATE),
        (Unpublishable("x"), Stage.PUBLISH),
        (PermanentError("x"), Stage.HANDLE),
        (TransientError("x"), Stage.HANDLE),
        (DependencyUnavailable("x"), Stage.HANDLE),
    ],
)
def test_a_record_error_knows_its_stage(error: RecordError, stage: Stage) -> None:
    assert error.stage is stage


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MachineryFailure, 75),
        (AgentContractBroken, 70),
        (SetupError, 78),
        (BrokerUnreachable, 69),
        (InputError, 65),
    ],
)
def test_the_exit_statuses_are_those_of_sysexits(error: type[PaystreamError], status: int) -> None:
    assert int(error.exit_status) == status


def test_machinery_and_records_are_never_confused() -> None:
    assert not [each for each in CLASSES if issubclass(each, MachineryFailure) and issubclass(each, RecordError)]


def test_an_unavailable_dependency_is_named_with_what_was_seen() -> None:
    assert str(DependencyUnavailable("smtp", "connection refused")) == "smtp is unavailable: connection refused"
    assert str(DependencyUnavailable("smtp")) == "smtp is unavailable"
    assert DependencyUnavailable("smtp").dependency == "smtp"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InputError("a.csv", "is empty"), "a.csv: is empty"),
        (InputError("a.csv", "is no number", line=7), "a.csv:7: is no number"),
        (
            InputError("a.csv", "is no number", line=7, column="Price"),
            "a.csv:7: column 'Price': is no number",
        ),
        (InputError("a.csv", "is missing", column="Price"), "a.csv: column 'Price': is missing"),
    ],
)
def test_an_input_error_names_the_place_as_closely_as_it_is_known(error: InputError, text: str) -> None:
    assert str(error) == text
