"""The columns of the platform's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from models.platform import PlatformOrder
from streams.failure.errors import InvalidRecord

# models.money: twelve digits before the point and six after it, and a line's total is the like.
_MONEY = pa.decimal128(24, 6)
_LINE = pa.struct(
    [
        ("sku", pa.string()),
        ("name", pa.string()),
        ("quantity", pa.int64()),
        ("unit_price", _MONEY),
        ("total", _MONEY),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("payment_id", pa.string()),
        pa.field("order_id", pa.string(), nullable=False),
        pa.field("customer_id", pa.string()),
        pa.field("method", pa.string()),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("amount", _MONEY, nullable=False),
        pa.field("occurred_at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("country", pa.string(), nullable=False),
        pa.field("item_count", pa.int64(), nullable=False),
        pa.field("units", pa.int64(), nullable=False),
        pa.field("lines", pa.list_(_LINE), nullable=False),
        # Where the row came from: by these it is traced back, and checked.
        pa.field("source_topic", pa.string(), nullable=False),
        pa.field("source_partition", pa.int32(), nullable=False),
        pa.field("source_offset", pa.int64(), nullable=False),
    ]
)
"""One row a record. Amounts are positive in cancellations too: ``kind`` says what to do with them."""

_PLAIN = SCHEMA.names[:12]
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class PlatformRow:
    """A record on its way into a file.

    Raises:
        InvalidRecord: it has a number that its column cannot hold. Said here, where it is one record's failure:
            when columns are made of a batch, it would be the process's.
    """

    order: PlatformOrder
    topic: str
    partition: int
    offset: int

    def __post_init__(self) -> None:
        for name in ("item_count", "units"):
            if abs(getattr(self.order, name)) > _LARGEST:
                raise InvalidRecord(f"{name}: must be a number of at most 64 bits")


def as_batch(rows: Sequence[PlatformRow]) -> pa.RecordBatch:
    """Turn rows into Arrow's columns, which take a fraction of the space."""
    orders = [row.order for row in rows]
    columns = [[getattr(order, name) for order in orders] for name in _PLAIN]
    columns.append(
        [
            [
                {
                    "sku": line.sku, "name": line.name, "quantity": line.quantity, "unit_price": line.unit_price,
                    "total": line.total,
                }
                for line in order.lines
            ]
            for order in orders
        ]
    )  # fmt: skip
    columns += [[row.topic for row in rows], [row.partition for row in rows], [row.offset for row in rows]]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def days_of(table: pa.Table) -> pa.ChunkedArray:
    """Say of each row on which UTC day it happened, as ``YYYY-MM-DD``."""
    return pc.strftime(table["occurred_at"], "%Y-%m-%d")


def by_day(batches: Sequence[pa.RecordBatch]) -> dict[str, pa.Table]:
    """Part rows by the UTC day on which they happened."""
    table = pa.Table.from_batches(batches, SCHEMA)
    days = days_of(table)
    return {day: table.filter(pc.equal(days, day)) for day in pc.unique(days).to_pylist()}
