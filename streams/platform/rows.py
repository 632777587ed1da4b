"""The columns of the platform's files."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models.identity import completed, digest_of
from models.platform import OUTPUT, PlatformOrder
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
# By these two records of one id are compared, by the moment and by their lines: the other columns follow from them.
_SAID = ("payment_id", "order_id", "customer_id", "method", "currency", "amount", "country")
_LARGEST = 2**63 - 1
# 2,000 orders of 20 lines take 100 ms, and a thread would not help: Arrow reads Python's objects with the GIL held.
# 128 of them are some 6 ms between two chances for heartbeats and the other lanes.
_ROWS_BETWEEN_YIELDS: Final = 128


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


async def as_batch_in_turns(rows: Sequence[PlatformRow]) -> pa.RecordBatch:
    """Turn rows into columns, and let others run in between."""
    slices = []
    for start in range(0, len(rows), _ROWS_BETWEEN_YIELDS):
        slices.append(as_batch(rows[start : start + _ROWS_BETWEEN_YIELDS]))
        await asyncio.sleep(0)
    (batch,) = pa.Table.from_batches(slices).combine_chunks().to_batches()
    return batch


def said_by(table: pa.Table) -> list[tuple[str, str]]:
    """Return each record's id, in the form of today, and a digest of what it says.

    The digest is of what the row has, field by field; nobody keeps it, so what it is made of may change.
    """
    # Moments as numbers: with their time zone they would ask for the machine's time-zone files.
    columns = [table["occurred_at"].cast(pa.int64()), *(table[name] for name in _SAID)]
    plain = [[str(value) for value in column.to_pylist()] for column in columns]
    lines = _lines_said(table["lines"])
    return [
        (completed(record_id, OUTPUT, kind), digest_of(*fields, *ordered))
        for record_id, kind, ordered, *fields in zip(
            table["record_id"].to_pylist(), table["kind"].to_pylist(), lines, *plain, strict=True
        )
    ]


def _lines_said(column: pa.ChunkedArray) -> Iterator[list[str]]:
    for chunk in column.chunks:
        # All lines of all rows at once: row by row, they would be a dictionary each.
        every = chunk.flatten()
        fields = [every.field(name).to_pylist() for name in ("sku", "name", "quantity", "unit_price")]
        written = ["\0".join(map(str, line)) for line in zip(*fields, strict=True)]
        begin = 0
        for length in pc.list_value_length(chunk).to_pylist():
            yield sorted(written[begin : begin + length])
            begin += length


def days_of(rows: pa.Table | pa.RecordBatch) -> pa.ChunkedArray | pa.Array:
    """Say of each row on which UTC day it happened, as ``YYYY-MM-DD``.

    The moments are in UTC and need no time zone for it: for one, UTC's own too, Arrow asks the machine's files, and
    slim images have none.
    """
    return rows["occurred_at"].cast(pa.int64()).cast(pa.timestamp("us")).cast(pa.date32()).cast(pa.string())


def by_day(batches: Iterable[pa.RecordBatch]) -> dict[str, pa.Table]:
    """Part rows by the UTC day on which they happened, in the order of the days.

    Rows are sorted, and cut where another day begins: to look through all of them for each day would take as many times
    longer as there are days. It is done batch by batch, since put together they may be too much text for one column.
    """
    found: dict[str, list[pa.RecordBatch]] = defaultdict(list)
    for batch in batches:
        days = days_of(batch)
        order = pc.array_sort_indices(days)  # stable: within a day, rows stay in the order of their offsets
        sorted_rows, start = batch.take(order), 0
        for day in pc.value_counts(days.take(order)).to_pylist():
            found[day["values"]].append(sorted_rows.slice(start, day["counts"]))
            start += day["counts"]
    return {day: pa.Table.from_batches(found[day], SCHEMA) for day in sorted(found)}
