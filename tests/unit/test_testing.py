from __future__ import annotations

import json
from decimal import Decimal

import pytest
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from streams.testing import RULES, TIMESTAMP, batch, record


class Order(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    order_id: str


@pytest.mark.parametrize("value", [b"", b"\xff", b"{}", None])
def test_bytes_and_tombstones_are_taken_as_they_are(value: bytes | None) -> None:
    assert record(value).value is value


def test_a_mapping_becomes_json() -> None:
    value = record({"orderId": "7", "country": "Österreich"}).value
    assert value is not None
    assert json.loads(value) == {"orderId": "7", "country": "Österreich"}


def test_a_model_becomes_json_by_its_aliases() -> None:
    assert record(Order(order_id="7")).value == b'{"orderId":"7"}'


def test_what_json_cannot_hold_is_refused_rather_than_guessed() -> None:
    with pytest.raises(TypeError, match="Decimal"):
        record({"amount": Decimal("1.10")})


def test_a_record_says_where_it_was_read() -> None:
    made = record(b"{}", topic="orders", partition=3, offset=41, key=b"7", headers=[("a", b"1")])
    assert (made.topic, made.partition, made.offset, made.key) == ("orders", 3, 41, b"7")
    assert list(made.headers) == [("a", b"1")]
    assert (made.timestamp, made.timestamp_kind) == (TIMESTAMP, "CreateTime")


def test_a_batch_has_quick_rules_unless_others_are_given() -> None:
    assert batch(record(b"{}")).rules is RULES
    assert RULES.group == "test"
    assert RULES.dead_letter_suffix == ".DLT"
    assert RULES.policy.backoff.delay(2, lambda: 0.0) == 0.01
    assert RULES.policy.backoff.delay(3, lambda: 0.0) is None


def test_a_batch_may_have_gaps_between_its_offsets() -> None:
    assert batch(record(b"{}", offset=4), record(b"{}", offset=9)).end == 10


@pytest.mark.parametrize(
    ("records", "complaint"),
    [
        ([], "at least one record"),
        ([record(b"", offset=0), record(b"", offset=1, partition=1)], "one partition"),
        ([record(b"", offset=0), record(b"", offset=1, topic="other")], "one partition"),
        ([record(b"", offset=1), record(b"", offset=1)], "offsets rise"),
        ([record(b"", offset=2), record(b"", offset=1)], "offsets rise"),
    ],
)
def test_a_batch_that_no_lane_would_make_is_refused(records: list[object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        batch(*records)  # type: ignore[arg-type]
