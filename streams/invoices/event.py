"""A payment event as the shop's producer would send it: key, value and CloudEvents headers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from streams.envelope import event_headers

EVENT_TYPE: Final = "shop.payment.completed.v1"
"""``ce_type``: whose event, which event, and the version of its schema."""
EVENT_SOURCE: Final = "/shop/orders"
"""``ce_source``: with ``ce_id`` it names the event, and a repeat has the same two."""

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """What goes to Kafka, ready to be sent. Its value is not validated: the pipeline judges it."""

    key: bytes
    """The order id: all events of an order share a partition."""
    value: bytes
    headers: tuple[tuple[str, bytes], ...]

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        return len(self.key) + len(self.value) + sum(len(name) + len(text) for name, text in self.headers)


def payment_event(value: bytes, *, order_id: str, payment_id: object, paid_at: object) -> PaymentEvent:
    """Make an event of a value whose order id is known and whose other parts may be anything.

    Without a usable payment id it gets no CloudEvents attributes, since a CloudEvent must have an id;
    a ``paid_at`` that is no RFC 3339 text leaves out ``ce_time``, which is optional.

    Raises:
        UnicodeEncodeError: an id holds half of a surrogate pair, which UTF-8 cannot write.
    """
    time = paid_at if isinstance(paid_at, str) and _RFC_3339.fullmatch(paid_at) else ""
    identified = isinstance(payment_id, str) and payment_id
    headers = event_headers(id=str(payment_id), source=EVENT_SOURCE, type=EVENT_TYPE, time=time, subject=order_id)
    wanted = [(name, text) for name, text in headers if text and (identified or not name.startswith("ce_"))]
    return PaymentEvent(order_id.encode(), value, tuple(wanted))
