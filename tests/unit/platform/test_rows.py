from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pytest
from pydantic import ValidationError
from support.orders import ORDER

from models.platform import ADAPTER
from streams.platform.rows import PlatformRow, as_batch, by_day, days_of

_START = datetime(1970, 1, 1, 23, 59, 59, 999_999, tzinfo=timezone.utc)


def rows(moments: list[datetime]) -> list[PlatformRow]:
    bodies = [{**ORDER, "occurredAt": moment.isoformat()} for moment in moments]
    orders = [ADAPTER.validate_json(json.dumps(body)) for body in bodies]
    return [PlatformRow(each, "platform.orders", 0, offset) for offset, each in enumerate(orders)]


def test_a_row_is_of_the_utc_day_on_which_it_happened() -> None:
    moments = [
        "1970-01-01T00:00:00+00:00", "1970-01-01T23:59:59.999999+00:00", "1970-01-02T00:00:00+00:00",
        "2010-12-01T00:30:00+09:00", "2016-12-31T23:59:59+00:00", "9998-12-31T23:59:59.999999+00:00",
    ]  # fmt: skip
    parted = by_day([as_batch(rows([datetime.fromisoformat(each) for each in moments]))])
    assert {day: table.num_rows for day, table in parted.items()} == {
        "1970-01-01": 2, "1970-01-02": 1, "2010-11-30": 1, "2016-12-31": 1, "9998-12-31": 1,
    }  # fmt: skip


def test_days_come_in_their_order_and_rows_of_a_day_in_that_of_their_offsets() -> None:
    made = rows([_START + timedelta(days=2 - number % 3) for number in range(30)])
    parted = by_day([as_batch(made[:11]), as_batch(made[11:])])
    assert list(parted) == ["1970-01-01", "1970-01-02", "1970-01-03"]
    assert [table["source_offset"].to_pylist() for table in parted.values()] == [
        list(range(2, 30, 3)), list(range(1, 30, 3)), list(range(0, 30, 3)),
    ]  # fmt: skip


def test_parting_rows_takes_time_for_the_rows_and_not_for_the_days() -> None:
    few, many = ([as_batch(rows([_START + timedelta(days=n % days) for n in range(2_000)]))] for days in (2, 2_000))
    began = time.process_time()
    by_day(few)
    between = time.process_time()
    assert len(by_day(many)) == 2_000
    # Looking through all rows for each day took over a second.
    assert time.process_time() - between < 0.4 + (between - began)


def test_the_day_of_a_moment_needs_no_time_zone_of_the_machine() -> None:
    (moment,) = as_batch(rows([_START]))["occurred_at"].cast("int64").to_pylist()
    elsewhere = pa.table({"occurred_at": pa.array([moment], pa.timestamp("us", "Nowhere/Land"))})
    assert days_of(elsewhere).to_pylist() == ["1970-01-01"]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("amount", ["0", "0.000001", "999999999999.999999"]),
        ("itemCount", [0, -(2**63) + 1, 2**63 - 1]),
        ("units", [0, -(2**63) + 1, 2**63 - 1]),
        ("occurredAt", ["1970-01-01T00:00:00Z", "9998-12-31T23:59:59.999999999Z", "2010-12-01T00:00:00+23:59"]),
        ("country", ["x" * 128, "\U0001f600", "국"]),
        ("lines", [[], ORDER["lines"] * 10_000]),
    ],
)
def test_what_the_wire_lets_through_fits_into_the_columns(field: str, values: list[object]) -> None:
    bodies = [json.dumps({**ORDER, field: value}) for value in values]
    made = [PlatformRow(ADAPTER.validate_json(body), "platform.orders", 0, 0) for body in bodies]
    assert sum(table.num_rows for table in by_day([as_batch(made)]).values()) == len(values)


@pytest.mark.parametrize(
    "line",
    [
        {"quantity": 2**31 - 1, "unitPrice": "999999999999.999999", "total": "999999999999.999999"},
        {"sku": "x" * 128, "name": "x" * 1_000, "unitPrice": "0", "total": "0"},
        {"name": ""},
    ],
)
def test_what_the_wire_lets_through_of_a_line_fits_as_well(line: dict[str, object]) -> None:
    body = json.dumps({**ORDER, "lines": [{**ORDER["lines"][0], **line}]})
    as_batch([PlatformRow(ADAPTER.validate_json(body), "platform.orders", 0, 0)])


@pytest.mark.parametrize("field", ["country", "orderId", "kind", "recordId", "customerId", "method", "paymentId"])
def test_half_a_character_is_the_records_fault_and_not_the_files(field: str) -> None:
    body = json.dumps({**ORDER, field: "@"}).replace('"@"', '"\\ud800"')
    with pytest.raises(ValidationError):
        ADAPTER.validate_json(body)
