"""Reading events from JSON lines: one event a line, published byte for byte as it stands there.

But for a byte order mark, which some programs put before a file and others refuse in a value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from streams.failure.errors import InputError
from streams.invoices.event import CANCELLED, COMPLETED, ShopEvent, shop_event
from streams.invoices.reading import EMPTY, NO_ORDERS, Reading, check_size, opened
from streams.kafka.encoding import without_mark


def read_jsonl(path: Path, reading: Reading) -> None:
    """Add the events of a file to a reading; empty lines do not count.

    A line must be a JSON object with an ``orderId``, since that is the record's key, and is a cancellation if
    it has a ``cancellationId``; nothing else is checked. Lines stand for themselves, so those before the place
    where a file is damaged are good.

    Raises:
        InputError: the first line that is wrong, the file's damage, or that nothing is in it, if not to be skipped.
    """
    lines = _lines(path)
    while True:
        try:
            number, value = next(lines)
            reading.events.append(_event(value, path, number))
        except StopIteration:
            return
        except InputError as problem:
            reading.reject(problem)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number, filled = 0, 0
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            # A byte order mark is the file's and no part of an event: that of a file which was joined to another, too.
            if value := without_mark(line).strip(b" \t\r\n"):
                filled += 1
                yield number, value
    if not filled:
        raise InputError(path, NO_ORDERS if number else EMPTY)


def _event(value: bytes, path: Path, line: int) -> ShopEvent:
    try:
        # RecursionError: brackets nested so deep that they are an attack or an accident.
        body = json.loads(value.decode())
    except UnicodeDecodeError:
        raise InputError(path, "not UTF-8", line=line) from None
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "too long a number or too deeply nested")
        raise InputError(path, f"not JSON: {reason}", line=line) from None
    if not isinstance(body, dict):
        raise InputError(path, "expected a JSON object", line=line)
    order_id = body.get("orderId")
    if not isinstance(order_id, str) or not order_id:
        raise InputError(path, "expected the order's id as text: it is the record's key", line=line, column="orderId")
    try:
        kind = CANCELLED if CANCELLED.id_field in body else COMPLETED
        event = shop_event(kind, value, order_id=order_id, id=body.get(kind.id_field), time=body.get(kind.time_field))
    except UnicodeEncodeError:
        raise InputError(path, "an id holds half of a surrogate pair", line=line) from None
    check_size(event, path, line)
    return event
