from __future__ import annotations

from typing import Any

import pytest

from agents.payments import on_payment
from models.dead_letter import DeadLetterView
from streams.dead_letters.kinds import Kind, kind_of
from streams.dead_letters.view import view_of
from streams.testing import batch, record


def kind(reason: str | None, **more: Any) -> Kind:
    return kind_of(DeadLetterView(topic="t", partition=0, offset=0, reason=reason, fingerprint="f", **more))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("lines.0.quantity: Input should be greater than 0", "lines.7.quantity: Input should be greater than 0"),
        ("lines.0.quantity: no", "lines.0.quantity: no; lines.1.quantity: no; lines.2.quantity: no; and 4 more"),
        ("lines.0.sku: a; lines.1.name: b", "lines.0.name: b; lines.4.sku: a"),
        ("grid.0.1: no", "grid.5.12: no"),
        ("Invalid JSON: EOF while parsing at line 1 column 9", "Invalid JSON: EOF while parsing at line 2 column 90"),
        ("the value is not UTF-8: byte 9 cannot be decoded", "the value is not UTF-8: byte 404 cannot be decoded"),
        (
            "amount is not the sum of the lines but 0.01 GBP more",
            "amount is not the sum of the lines but 0.02 GBP more",
        ),
        ("the first is at payment.completed-1@21", "the first is at payment.completed-3@7"),
        ("an output is 1,048,577 bytes", "an output is 2097153 bytes"),
        ("down since 2026-11-27 18:20Z, and more", "down since 2026-11-28 09:00Z, and more"),
        ("seen 2026-11-27T18:20:00.123Z", "seen 2026-11-28T09:00:00+01:00"),
        ("not within 30 s.", "not within 2.5 s."),
    ],
)
def test_what_only_this_letter_has_makes_no_kind_of_its_own(one: str, other: str) -> None:
    assert kind(one) == kind(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the value is empty", "the value is null"),
        ("lines.0.quantity: no", "lines.0.sku: no"),
        ("lines.0.quantity: no", "lines.0.quantity: yes"),
        ("it refuses it: 404", "it refuses it: 410"),
        ("it answered 500", "it answered 503"),
        ("the mail server refuses the address: 550 5.1.1", "the mail server refuses the address: 550 5.7.1"),
        ("webhook shop1.example is down", "webhook shop2.example is down"),
        ("webhook web-1.example is down", "webhook web-2.example is down"),
        ("webhook 192.0.2.7 is down", "webhook 192.0.2.8 is down"),
        (None, "unknown to us"),
    ],
)
def test_what_is_another_reason_is_another_kind(one: str | None, other: str) -> None:
    assert kind(one) != kind(other)


def test_one_reason_in_two_places_of_the_code_is_two_kinds() -> None:
    view = DeadLetterView(topic="t", partition=0, offset=0, exception_class="builtins.KeyError", fingerprint="f")
    assert kind_of(view) != kind_of(view.model_copy(update={"fingerprint": "g"}))
    assert kind_of(view) != kind_of(view.model_copy(update={"stage": "validate"}))


async def test_letters_of_our_own_agents_are_as_many_kinds_as_they_have_reasons() -> None:
    broken = [b"", b"{", b"\xff", b"[" * 10_000, "{}".encode("utf-16"), b'{"a":"\\ud83d"}', b"{} {}"]
    # Three of these reasons again, at other places of their values.
    again = [b" {", b"  \xff", b"   {} {}"]
    taken = batch(*(record(value, offset=offset) for offset, value in enumerate([*broken, *again])))
    taken.offer()
    await taken.handle(on_payment)
    views = [view_of(record(each.value, headers=each.headers)) for each in taken.outputs]
    assert len(views) == len(broken) + len(again)
    assert len({kind_of(view) for view in views}) == len(broken)
