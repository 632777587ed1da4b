from __future__ import annotations

import builtins
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from streams.failure.errors import InvalidRecord, Stage, TransientError
from streams.failure.fingerprint import causes, fingerprint, qualified_name, root_cause, trace_text

GROUP: Any = getattr(builtins, "ExceptionGroup", None)


class Line(BaseModel):
    quantity: int


class Payment(BaseModel):
    model_config = ConfigDict(extra="forbid")

    amount: int
    lines: list[Line] = []


class Refund(Payment):
    pass


def module(source: str, name: str = "shop.handlers", file: str = "/srv/shop/handlers.py") -> ModuleType:
    """Make a module as if it had been imported from that file."""
    made = ModuleType(name)
    exec(compile(source, file, "exec"), made.__dict__)
    return made


def raised(call: Callable[..., Any], *arguments: Any) -> Exception:
    try:
        call(*arguments)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


HANDLERS = """
def price(record):
    return record["price"]

def total(record):
    return price(record)

def count(record):
    return record["count"]
"""


def of(source: str, function: str, record: object, stage: Stage = Stage.HANDLE, name: str = "shop.handlers") -> str:
    return fingerprint(raised(getattr(module(source, name), function), record), stage)


def test_it_is_sixteen_hexadecimal_digits_and_does_not_change_from_release_to_release() -> None:
    assert re.fullmatch("[0-9a-f]{16}", of(HANDLERS, "total", {}))
    # printf 'handle\nbuiltins.KeyError' | b2sum -l 64
    assert fingerprint(KeyError("never raised"), Stage.HANDLE) == "743020d7fc2ff2e4"


def test_neither_values_nor_line_numbers_nor_messages_matter() -> None:
    moved = "# a comment\n\n\n" + HANDLERS.replace('"price"', '"unit price"')
    assert of(HANDLERS, "total", {}) == of(moved, "total", {"Jane": "Doe"})


def test_stage_class_and_place_each_matter() -> None:
    seen = {
        of(HANDLERS, "total", {}),
        of(HANDLERS, "total", {}, Stage.PUBLISH),
        of(HANDLERS, "total", None),
        of(HANDLERS, "price", {}),
        of(HANDLERS, "count", {}),
        of(HANDLERS, "count", {}, name="shop.others"),
    }
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("httpx.client", "/srv/.venv/lib/python3.11/site-packages/httpx/client.py"),
        ("json.decoder", "/usr/lib/python3.11/json/decoder.py"),
    ],
)
def test_frames_of_libraries_do_not_matter(name: str, file: str) -> None:
    library = module("def old(call, x): return call(x)\ndef new(call, x): return old(call, x)", name, file)
    handlers = module(HANDLERS)
    assert len({fingerprint(raised(f, handlers.count, {}), Stage.HANDLE) for f in (library.old, library.new)}) == 1


def test_our_own_packages_count_even_where_they_are_installed_as_a_library() -> None:
    agent = module(HANDLERS, "agents.payments", "/usr/lib/python3/dist-packages/agents/payments.py")
    prints = {fingerprint(raised(each, {}), Stage.HANDLE) for each in (agent.count, agent.price)}
    assert len(prints) == 2


def test_only_the_innermost_frames_count_so_the_way_to_a_handler_does_not() -> None:
    handlers = module("def a(r): return b(r)\ndef b(r): return c(r)\ndef c(r): return r['x']")

    def by_another_way(record: object) -> None:
        handlers.a(record)

    prints = {fingerprint(raised(each, {}), Stage.HANDLE) for each in (handlers.a, by_another_way)}
    assert len(prints) == 1


def test_an_error_raised_from_another_is_placed_where_the_other_was_raised() -> None:
    handlers = module(HANDLERS)

    def wrap(handler: Callable[..., Any]) -> None:
        try:
            handler({})
        except KeyError as error:
            raise RuntimeError("no") from error

    prints = {fingerprint(raised(wrap, each), Stage.HANDLE) for each in (handlers.price, handlers.count)}
    assert len(prints) == 2


def invalid(model: type[BaseModel], value: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(value)
    return caught.value


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"amount": "x"}, {"amount": "y"}, True),
        # which of the lines is broken, and how many of them are, is the record's business
        (
            {"amount": 1, "lines": [{"quantity": "x"}]},
            {"amount": 1, "lines": [{"quantity": 1}, {"quantity": "x"}, {"quantity": "y"}]},
            True,
        ),
        # a key that the contract does not know is the sender's invention
        ({"amount": 1, "jane": 1}, {"amount": 1, "doe": 1}, True),
        ({"amount": "x"}, {}, False),
        ({"amount": "x"}, {"amount": "x", "lines": 1}, False),
    ],
)
def test_records_that_break_the_same_fields_in_the_same_way_are_of_one_kind(
    one: object, other: object, same: bool
) -> None:
    prints = [fingerprint(invalid(Payment, each), Stage.VALIDATE) for each in (one, other)]
    assert (prints[0] == prints[1]) is same


def test_two_models_are_two_kinds() -> None:
    prints = [fingerprint(invalid(model, {}), Stage.VALIDATE) for model in (Payment, Refund)]
    assert prints[0] != prints[1]


def test_fields_count_under_an_error_of_ours_as_well() -> None:
    def refuse(value: object) -> None:
        try:
            Payment.model_validate(value)
        except ValidationError as error:
            raise InvalidRecord("refused") from error

    prints = [fingerprint(raised(refuse, each), Stage.VALIDATE) for each in ({"amount": "x"}, {})]
    assert prints[0] != prints[1]


# -- causes ------------------------------------------------------------------------------------------


def test_causes_are_followed_and_what_was_being_handled_is_not() -> None:
    bottom, middle, top = KeyError(), ValueError(), RuntimeError()
    top.__cause__, middle.__cause__ = middle, bottom
    bottom.__context__ = TransientError("unrelated")
    assert list(causes(top)) == [top, middle, bottom]
    assert root_cause(top) is bottom
    assert root_cause(bottom) is bottom


def test_a_cancellation_is_not_the_cause_of_a_time_out() -> None:
    error = TimeoutError()
    error.__cause__ = KeyboardInterrupt()
    assert list(causes(error)) == [error]
    assert root_cause(error) is error


def test_a_ring_of_causes_is_walked_once() -> None:
    one, other = KeyError(), ValueError()
    one.__cause__, other.__cause__ = other, one
    assert list(causes(one)) == [one, other]
    assert root_cause(one) in (one, other)


@pytest.mark.skipif(GROUP is None, reason="exception groups came with Python 3.11")
def test_members_of_a_group_come_before_its_cause() -> None:
    first, second, cause = KeyError(), ValueError(), OSError()
    group = GROUP("tasks", [first, second])
    group.__cause__ = cause
    assert list(causes(group)) == [group, first, second, cause]
    assert root_cause(GROUP("tasks", [first])) is first
    assert trace_text(group).endswith("builtins.ExceptionGroup\n  | builtins.KeyError\n  | builtins.ValueError\n")


# -- trace -------------------------------------------------------------------------------------------


def test_the_trace_reads_like_pythons_without_the_messages() -> None:
    def innermost() -> None:
        raise KeyError("4111 1111 1111 1111")

    def outermost() -> None:
        try:
            innermost()
        except KeyError as error:
            raise RuntimeError("Jane Doe") from error

    text = trace_text(raised(outermost))
    lines = text.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines.index("builtins.KeyError") < lines.index(
        "The above exception was the direct cause of the following exception:"
    )
    assert lines[-1] == "builtins.RuntimeError"
    assert text.endswith("\n")
    assert "in innermost" in text


def test_the_trace_holds_no_message_that_was_not_written_in_the_source() -> None:
    def fail(value: str) -> None:
        raise KeyError(value)

    assert "4111" not in trace_text(raised(fail, "4" + "111 1111"))


def test_the_trace_tells_what_was_being_handled_unless_it_was_disowned() -> None:
    def fail(owned: bool) -> None:
        try:
            raise KeyError
        except KeyError:
            if owned:
                raise RuntimeError  # noqa: B904
            raise RuntimeError from None

    assert "During handling of the above exception" in trace_text(raised(fail, True))
    assert "KeyError\n" not in trace_text(raised(fail, False)).replace("raise KeyError\n", "")


def test_a_deep_recursion_leaves_its_innermost_frames() -> None:
    def fail(depth: int) -> None:
        if depth:
            fail(depth - 1)
        raise KeyError

    text = trace_text(raised(fail, 200))
    # Python writes a line that is repeated three times and then counts it.
    assert "[Previous line repeated 16 more times]" in text
    assert "raise KeyError" in text.splitlines()[-2:][0] + text.splitlines()[-3:][0]


def test_a_chain_without_end_is_cut_at_its_deep_end() -> None:
    error = bottom = KeyError()
    for _ in range(100):
        above = KeyError()
        above.__cause__ = error
        error = above
    assert trace_text(error).count("builtins.KeyError") == 8
    bottom.__cause__ = error
    assert trace_text(error).count("builtins.KeyError") == 8


def test_an_exception_that_was_never_raised_has_a_trace_of_one_line() -> None:
    assert trace_text(KeyError("x")) == "builtins.KeyError\n"


def test_classes_are_named_with_their_module() -> None:
    assert qualified_name(InvalidRecord("x")) == "streams.failure.errors.InvalidRecord"
