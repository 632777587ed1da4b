from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.analytics import SaleFact
from models.cancellation import PaymentCancelled
from models.identity import completed, consequence_id, differ, digest_of, exactly, former_id
from models.inventory import StockMovement
from models.notification import NotificationRequest
from models.order import OrderEvent
from models.payment import PaymentCompleted
from models.platform import PlatformOrder

LINE = {"sku": "A1", "name": "thing", "quantity": 5, "unitPrice": "10.00"}
PAYMENT = {
    "paymentId": "1001", "orderId": "o-1", "customerId": "C1", "method": "CARD", "currency": "GBP", "amount": "50.00",
    "paidAt": "2026-01-01T10:00:00Z", "country": "United Kingdom", "lines": [LINE],
}  # fmt: skip
CANCELLATION = {
    "cancellationId": "1001", "paymentId": "1001", "orderId": "k-1", "customerId": "C1", "currency": "GBP",
    "amount": "50.00", "cancelledAt": "2026-01-02T10:00:00Z", "country": "United Kingdom", "lines": [LINE],
}  # fmt: skip
NAMES: dict[Any, str] = {
    PlatformOrder: "record_id", StockMovement: "movement_id", SaleFact: "fact_id", NotificationRequest: "request_id"
}  # fmt: skip
JUDGED = (StockMovement, SaleFact, NotificationRequest)


def payment(**changes: Any) -> PaymentCompleted:
    return PaymentCompleted.model_validate_json(json.dumps(PAYMENT | changes))


def cancellation(**changes: Any) -> PaymentCancelled:
    return PaymentCancelled.model_validate_json(json.dumps(CANCELLATION | changes))


def as_once(output: Any, event: OrderEvent) -> Any:
    """Return what follows from an event with the id that it had when ids did not say of what they were."""
    made = output.of(event)
    name = getattr(made, NAMES[output])
    setattr(made, NAMES[output], f"{event.event_id}:{name.rpartition('-')[2]}")
    return made


@pytest.mark.parametrize("output", NAMES)
def test_what_follows_from_a_payment_and_from_a_cancellation_of_one_id_has_two_names(output: Any) -> None:
    names = [getattr(output.of(event), NAMES[output]) for event in (payment(), cancellation())]
    assert names[0].startswith("1001:order-")
    assert names[1].startswith("1001:cancellation-")


@pytest.mark.parametrize("event", [payment(), cancellation()], ids=["payment", "cancellation"])
@pytest.mark.parametrize("output", JUDGED)
def test_a_record_of_before_is_told_for_what_it_is(output: Any, event: OrderEvent) -> None:
    before, today = as_once(output, event), output.of(event)
    assert before.identity == today.identity == getattr(today, NAMES[output])
    assert before.digest() == today.digest()
    assert before.former == today.former == getattr(before, NAMES[output])


@given(st.text(min_size=1, max_size=8, alphabet=":-ab"), st.text(min_size=1, max_size=8, alphabet=":-ab"))
def test_two_events_never_share_a_name_nor_does_one_of_today_look_like_one_of_before(one: str, other: str) -> None:
    names = {consequence_id(event, kind, "out") for event in {one, other} for kind in ("a", "b", "a-b")}
    assert len(names) == 3 * len({one, other})
    for name in names:
        assert completed(name, "out", "order") == name
        assert former_id(name, "out") in {f"{one}:out", f"{other}:out"}
    assert completed(f"{one}:out", "out", "order") == consequence_id(one, "order", "out")


@pytest.mark.parametrize("name", ["7", "inventory", "a:b", "pay-9 [x]", "a:-inventoryx"])
def test_a_name_that_none_of_ours_has_made_stays_as_it_is(name: str) -> None:
    assert completed(name, "inventory", "order") == name
    assert former_id(name, "inventory") is None


# Of the payment above: movement, fact, request.
DIGESTS = ["1:9f22128c69c9aa78f81319e0", "1:2f0f10aa3517b97cac6d32d7", "1:42749896bc6f0ad9cf5beaef"]
CHANGES: list[Callable[[], OrderEvent]] = [
    lambda: payment(orderId="o-2"),
    lambda: payment(amount="70.00", lines=[{**LINE, "quantity": 7}]),
    lambda: payment(paidAt="2026-01-01T10:00:01Z"),
]


@pytest.mark.parametrize("changed", CHANGES, ids=["another order", "other lines", "another time"])
@pytest.mark.parametrize("output", JUDGED)
def test_other_contents_have_another_digest(output: Any, changed: Callable[[], OrderEvent]) -> None:
    one, other = output.of(payment()), output.of(changed())
    assert one.identity == other.identity
    # The sum is not in a movement, nor are the lines in a request; each judges what it has.
    assert differ(one.digest(), other.digest())


@pytest.mark.parametrize("output", JUDGED)
def test_the_same_said_in_another_way_has_the_same_digest(output: Any) -> None:
    lines = [LINE, {**LINE, "sku": "B2", "unitPrice": "0.50"}]
    one = payment(amount="52.50", lines=lines)
    other = payment(
        amount="52.5", lines=[{**lines[1], "unitPrice": "0.500"}, lines[0]], paidAt="2026-01-01T11:00:00.000+01:00",
        sentAgain=True,
    )  # fmt: skip
    assert output.of(one).digest() == output.of(other).digest()


def test_digests_stay_as_they_are() -> None:
    """Rows hold them for years: if one of these changes, every replay becomes a dead letter. See models.identity."""
    made = [output.of(payment()).digest() for output in JUDGED]
    assert made == DIGESTS


def test_what_a_later_version_has_made_is_not_compared() -> None:
    assert not differ("2:0011", digest_of("x"))
    assert not differ(digest_of("x"), "2:0011")


def test_where_one_part_ends_and_the_next_begins_counts() -> None:
    assert differ(digest_of("ab", "c"), digest_of("a", "bc"))


def test_numbers_are_alike_if_their_values_are() -> None:
    assert exactly(Decimal("2.50")) == exactly(Decimal("2.5"))
    assert exactly(Decimal("123456789012.123456")) == "123456789012.123456"


@pytest.mark.parametrize("kind", ["", "a:b", "x" * 65, "a\nb"])
def test_a_kind_of_event_that_would_make_ids_ambiguous_cannot_be_declared(kind: str) -> None:
    facts = {"platform_kind": kind, "sale_kind": "sale", "template": "x", "stock_sign": 1}
    with pytest.raises(TypeError, match="platform_kind must be text of 1 to 64 characters without a colon"):
        type("Odd", (OrderEvent,), {"__module__": __name__, **facts})
