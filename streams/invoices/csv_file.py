"""Reading a shop's invoices from CSV (RFC 4180), in the columns of the Online Retail data set.

Source of the columns: Daqing Chen, "Online Retail", UCI Machine Learning Repository, 2015,
https://doi.org/10.24432/C5BW33. Dates are ``YYYY-MM-DD HH:MM:SS`` and taken to be UTC; prices are pounds.
"""

from __future__ import annotations

import csv
import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Final

from models.money import EXACT, MAX_FRACTION_DIGITS, MAX_INTEGER_DIGITS, rounded
from streams.failure.errors import InputError
from streams.invoices.event import CANCELLED, COMPLETED, EventKind, ShopEvent, shop_event
from streams.invoices.reading import EMPTY, NO_ORDERS, Reading, check_size, opened
from streams.kafka.encoding import is_utf_8

CURRENCY: Final = "GBP"
METHOD: Final = "CARD"
CANCELLATION_PREFIX: Final = "C"

COLUMNS: Final = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)

# Negative ones are valid here: write-offs and adjustments are published as they are.
_INTEGER = re.compile(r"-?[0-9]{1,9}")
_DECIMAL = re.compile(rf"-?[0-9]{{1,{MAX_INTEGER_DIGITS}}}(\.[0-9]{{1,{MAX_FRACTION_DIGITS}}})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}")


@dataclass(frozen=True, slots=True)
class _Row:
    """A row whose invoice is known, whatever else is wrong with it."""

    line: int
    number: str
    cells: list[str]
    complete: bool
    """False for a last row without a line break."""


@dataclass(slots=True)
class _Invoice:
    number: str
    line: int
    moment: str = ""
    customer: str = ""
    country: str = ""
    lines: list[dict[str, Any]] = field(default_factory=list)
    amount: Decimal = Decimal(0)
    problem: InputError | None = None
    """The first thing found wrong; set only if such invoices are to be skipped."""

    @property
    def cancels(self) -> bool:
        """Whether it is a credit note, whose quantities the file counts below zero."""
        return self.number.startswith(CANCELLATION_PREFIX)


def read_csv(path: Path, reading: Reading) -> None:
    """Add the invoices of a file to a reading: each is a payment, or, if its number begins with C, a cancellation.

    Rows with the same invoice number belong together, wherever they stand.

    Raises:
        InputError: the first place that is wrong, if not to be skipped.
    """
    invoices: dict[str, _Invoice] = {}
    try:
        for row, columns in _rows(path):
            invoice = invoices.setdefault(row.number, _Invoice(row.number, row.line))
            try:
                _add(invoice, row, columns, path)
            except InputError as problem:
                if not reading.skip_unreadable:
                    raise
                invoice.problem = invoice.problem or problem
        if not invoices:
            raise InputError(path, NO_ORDERS)
    except InputError as problem:
        reading.reject(problem)
        return
    for invoice in invoices.values():
        _finish(invoice, path, reading)


def _finish(invoice: _Invoice, path: Path, reading: Reading) -> None:
    try:
        if invoice.problem is not None:
            raise invoice.problem
        event = _cancellation(invoice) if invoice.cancels else _payment(invoice)
        check_size(event, path, invoice.line)
    except InputError as problem:
        reading.reject(problem)
    else:
        reading.events.append(event)


def _payment(invoice: _Invoice) -> ShopEvent:
    body = {
        "paymentId": f"pay-{invoice.number}",
        "orderId": invoice.number,
        "customerId": invoice.customer or None,
        "method": METHOD,
        "currency": CURRENCY,
        "amount": str(rounded(invoice.amount, CURRENCY)),
        "paidAt": invoice.moment,
        "country": invoice.country,
        "lines": invoice.lines,
    }
    return _event(COMPLETED, invoice, body)


def _cancellation(invoice: _Invoice) -> ShopEvent:
    body = {
        "cancellationId": f"can-{invoice.number}",
        "orderId": invoice.number,
        # The data set does not say which invoice a credit note is for.
        "paymentId": None,
        "customerId": invoice.customer or None,
        "currency": CURRENCY,
        "amount": str(rounded(-invoice.amount, CURRENCY)),
        "cancelledAt": invoice.moment,
        "country": invoice.country,
        "lines": [{**line, "quantity": -line["quantity"]} for line in invoice.lines],
    }
    return _event(CANCELLED, invoice, body)


def _event(kind: EventKind, invoice: _Invoice, body: dict[str, Any]) -> ShopEvent:
    value = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return shop_event(kind, value, order_id=invoice.number, id=body[kind.id_field], time=invoice.moment)


# -- rows ----------------------------------------------------------------------------------------


class _Lines:
    """The lines of a file as text, remembering whether the last one had its line break."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.complete = True

    def __iter__(self) -> Iterator[str]:
        for raw in self._file:
            self.complete = raw.endswith(b"\n")
            # What is not UTF-8 comes out as lone surrogates, which are found where the cells are read.
            yield raw.decode("utf-8", "surrogateescape")


def _rows(path: Path) -> Iterator[tuple[_Row, dict[str, int]]]:
    """Read the rows whose invoice is known, with the index of each column.

    Raises:
        InputError: something is wrong of which nobody can say what invoice it belongs to.
    """
    with opened(path) as file:
        lines = _Lines(file)
        rows = csv.reader(lines, strict=True)
        try:
            header = next(rows, None)
            if header is None:
                raise InputError(path, EMPTY)
            columns = _columns(header, path)
            if not lines.complete:
                raise InputError(path, "the file ends within its header", line=rows.line_num)
            for cells in rows:
                if cells:
                    number = _number(cells, columns, path, rows.line_num)
                    yield _Row(rows.line_num, number, cells, lines.complete), columns
        except csv.Error as error:
            raise InputError(path, f"not CSV: {error}", line=rows.line_num) from None


def _columns(header: list[str], path: Path) -> dict[str, int]:
    if header:
        header[0] = header[0].removeprefix("\ufeff")  # Excel's byte order mark
    for name in COLUMNS:
        if name not in header:
            raise InputError(path, "the header has no such column", line=1, column=name)
    return {name: index for index, name in enumerate(header)}


def _number(cells: list[str], columns: dict[str, int], path: Path, line: int) -> str:
    index = columns["InvoiceNo"]
    # In the last cell of a row that is cut off, half an invoice number would pass for another one.
    last = len(cells) - 1 if len(cells) < len(columns) else len(cells)
    number = cells[index] if index < last else ""
    if not number or not is_utf_8(number):
        raise InputError(path, "no invoice number: empty, cut off, or not UTF-8", line=line, column="InvoiceNo")
    return number


def _add(invoice: _Invoice, row: _Row, columns: dict[str, int], path: Path) -> None:
    if len(row.cells) != len(columns):
        raise InputError(
            path,
            f"{len(row.cells)} columns where the header has {len(columns)}: is the file cut off?",
            line=row.line,
        )
    if not row.complete:
        raise InputError(path, "the file ends without a line break: if it is not cut off, add one", line=row.line)
    sku, name, quantity, date, price, customer, country = (row.cells[columns[name]] for name in COLUMNS[1:])

    def wrong(column: str, reason: str) -> InputError:
        return InputError(path, reason, line=row.line, column=column)

    if not _INTEGER.fullmatch(quantity):
        raise wrong("Quantity", "expected a whole number of at most 9 digits")
    if not _DECIMAL.fullmatch(price):
        raise wrong(
            "UnitPrice",
            f"expected a number such as 2.55, with at most {MAX_INTEGER_DIGITS} digits before the point "
            f"and {MAX_FRACTION_DIGITS} after it",
        )
    moment = _utc(date)
    if moment is None:
        raise wrong("InvoiceDate", "expected a date and time such as 2010-12-01 08:26:00")
    for column in COLUMNS:
        if not is_utf_8(row.cells[columns[column]]):
            raise wrong(column, "not UTF-8")
    if not invoice.lines:
        invoice.moment, invoice.customer, invoice.country = moment, customer, country
    elif customer != invoice.customer:
        raise wrong("CustomerID", "differs from the first line of the same invoice")
    elif country != invoice.country:
        raise wrong("Country", "differs from the first line of the same invoice")
    invoice.lines.append({"sku": sku, "name": name, "quantity": int(quantity), "unitPrice": price})
    invoice.amount = EXACT.fma(Decimal(price), int(quantity), invoice.amount)


@functools.lru_cache(maxsize=16)  # the lines of an invoice share their date
def _utc(text: str) -> str | None:
    if not _DATE.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).isoformat() + "Z"
    except ValueError:
        return None
