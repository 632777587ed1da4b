"""The shop's invoices, and what they add up to by the plainest arithmetic there is: row by row, without our models."""

from __future__ import annotations

import csv
import io
import lzma
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
DAY = _ROOT / "examples" / "online_retail_2010-12-01.csv"
_MONTH = _ROOT.parent / "shared" / "data" / "online_retail" / "2010-12.csv.xz"
MONTH = _MONTH if _MONTH.exists() else DAY
"""December 2010, which lies beside the checkout; a day of it where it does not."""


@dataclass(slots=True)
class Sums:
    """What a file adds up to: invoices that are payments or cancellations, without write-offs and the like."""

    orders: int = 0
    units: int = 0
    revenue: Decimal = Decimal(0)
    refunds: int = 0
    returned: int = 0
    refunded: Decimal = Decimal(0)


@dataclass(slots=True)
class Expected:
    """The sums as a whole and by parts; what was moved, by article."""

    total: Sums = field(default_factory=Sums)
    by_country: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    by_day: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    moved: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    orders: set[str] = field(default_factory=set)
    """The invoices that count."""
    customer_of: dict[str, str] = field(default_factory=dict)
    """Who is behind an invoice that counts; nobody, if it is a guest's."""
    invalid: int = 0
    """Invoices that do not count."""


def add_up(path: Path) -> Expected:
    """Add up a file of invoices."""
    raw = path.read_bytes()
    text = (lzma.decompress(raw) if path.suffix == ".xz" else raw).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    invoices: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        invoices[row["InvoiceNo"]].append(row)
    expected = Expected()
    for number, lines in invoices.items():
        sign = -1 if number.startswith("C") else 1
        quantities = [sign * int(line["Quantity"]) for line in lines]
        prices = [Decimal(line["UnitPrice"]) for line in lines]
        exact = sum((price * pieces for price, pieces in zip(prices, quantities, strict=True)), Decimal(0))
        amount = exact.quantize(Decimal("0.01"), ROUND_HALF_UP)
        if min(quantities) <= 0 or min(prices) < 0 or not amount:
            expected.invalid += 1
            continue
        expected.orders.add(number)
        if lines[0]["CustomerID"]:
            expected.customer_of[number] = lines[0]["CustomerID"]
        for line, pieces in zip(lines, quantities, strict=True):
            expected.moved[line["StockCode"]] += sign * pieces
        country, day = lines[0]["Country"], lines[0]["InvoiceDate"][:10]
        for sums in (expected.total, expected.by_country[country], expected.by_day[day]):
            if sign > 0:
                sums.orders += 1
                sums.units += sum(quantities)
                sums.revenue += amount
            else:
                sums.refunds += 1
                sums.returned += sum(quantities)
                sums.refunded += amount
    return expected
