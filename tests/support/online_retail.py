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
MONTH = _ROOT / "tests" / "data" / "online_retail_2010-12.csv.xz"
"""December 2010."""
INVOICES_OF_MONTH = 2_025


@dataclass(slots=True)
class Sums:
    """What a file adds up to: invoices that are payments or cancellations, without write-offs and the like."""

    orders: int = 0
    units: int = 0
    revenue: Decimal = Decimal(0)
    refunds: int = 0
    returned: int = 0
    refunded: Decimal = Decimal(0)

    def count(self, cancels: bool, units: int, money: Decimal) -> None:
        """Count an invoice, or an article's part of one."""
        if cancels:
            self.refunds += 1
            self.returned += units
            self.refunded += money
        else:
            self.orders += 1
            self.units += units
            self.revenue += money


@dataclass(slots=True)
class Expected:
    """The sums as a whole and by parts; what was moved, by article."""

    total: Sums = field(default_factory=Sums)
    by_country: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    by_day: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    by_sku: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    """Quantity times price, not rounded, unlike an invoice's amount; ``orders`` are those that have the article."""
    moved: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    orders: set[str] = field(default_factory=set)
    """The invoices that count."""
    customer_of: dict[str, str] = field(default_factory=dict)
    """Who is behind an invoice that counts; nobody, if it is a guest's."""
    invalid: int = 0
    """Invoices that do not count."""


@dataclass(slots=True)
class _Line:
    sku: str
    pieces: int
    price: Decimal

    @property
    def money(self) -> Decimal:
        return self.price * self.pieces


def cancels(number: str) -> bool:
    """Whether an invoice is a credit note, whose quantities the file counts below zero."""
    return number.startswith("C")


def add_up(path: Path) -> Expected:
    """Add up a file of invoices."""
    invoices: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in _rows(path):
        invoices[row["InvoiceNo"]].append(row)
    expected = Expected()
    for number, rows in invoices.items():
        _count(expected, number, rows)
    return expected


def _rows(path: Path) -> list[dict[str, str]]:
    raw = path.read_bytes()
    text = (lzma.decompress(raw) if path.suffix == ".xz" else raw).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _count(expected: Expected, number: str, rows: list[dict[str, str]]) -> None:
    sign = -1 if cancels(number) else 1
    lines = [_Line(row["StockCode"], sign * int(row["Quantity"]), Decimal(row["UnitPrice"])) for row in rows]
    exact = sum((line.money for line in lines), Decimal(0))
    amount = exact.quantize(Decimal("0.01"), ROUND_HALF_UP)
    if min(line.pieces for line in lines) <= 0 or min(line.price for line in lines) < 0 or not amount:
        expected.invalid += 1
        return
    expected.orders.add(number)
    if rows[0]["CustomerID"]:
        expected.customer_of[number] = rows[0]["CustomerID"]
    country, day = rows[0]["Country"], rows[0]["InvoiceDate"][:10]
    for sums in (expected.total, expected.by_country[country], expected.by_day[day]):
        sums.count(cancels(number), sum(line.pieces for line in lines), amount)
    for sku in {line.sku for line in lines}:
        _count_article(expected, number, sku, [line for line in lines if line.sku == sku])


def _count_article(expected: Expected, number: str, sku: str, lines: list[_Line]) -> None:
    pieces = sum(line.pieces for line in lines)
    expected.moved[sku] += -pieces if cancels(number) else pieces
    expected.by_sku[sku].count(cancels(number), pieces, sum((line.money for line in lines), Decimal(0)))
