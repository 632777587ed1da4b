"""An event as the shop's producer would send it: key, value and CloudEvents headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streams.kafka.envelope import event_headers, text_attribute, time_attribute
from streams.topics import PAYMENT_CANCELLED, PAYMENT_COMPLETED

EVENT_SOURCE: Final = "/shop/orders"
"""``ce_source``: with ``ce_id`` it names the event, and a repeat has the same two."""


@dataclass(frozen=True, slots=True)
class EventKind:
    """A kind of event that shops send.

    Attributes:
        type: ``ce_type``: whose event, which event, and the version of its schema.
        topic: where it goes.
        id_field: the field of the value that names the event.
        time_field: the field that says when it happened.
    """

    type: str
    topic: str
    id_field: str
    time_field: str


COMPLETED: Final = EventKind("shop.payment.completed.v1", PAYMENT_COMPLETED, "paymentId", "paidAt")
CANCELLED: Final = EventKind("shop.payment.cancelled.v1", PAYMENT_CANCELLED, "cancellationId", "cancelledAt")


@dataclass(frozen=True, slots=True)
class ShopEvent:
    """What goes to Kafka, ready to be sent. Its value is not validated: the pipeline judges it."""

    kind: EventKind
    key: bytes
    """The order id: all events of an order share a partition."""
    value: bytes
    headers: tuple[tuple[str, bytes], ...]

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        return len(self.key) + len(self.value) + sum(len(name) + len(text) for name, text in self.headers)


def shop_event(kind: EventKind, value: bytes, *, order_id: str, id: object, time: object) -> ShopEvent:
    """Make an event of a value whose order id is known and whose other parts may be anything.

    Without a usable id it gets no CloudEvents attributes, since a CloudEvent must have an id; a `time` that
    is no RFC 3339 text leaves out ``ce_time``, which is optional.

    Raises:
        UnicodeEncodeError: an id holds half of a surrogate pair, which UTF-8 cannot write.
    """
    moment = time if isinstance(time, str) and time.isascii() and time_attribute(time.encode()) else ""
    identified = isinstance(id, str) and text_attribute(id.encode()) is not None
    headers = event_headers(id=str(id), source=EVENT_SOURCE, type=kind.type, time=moment, subject=order_id)
    wanted = [(name, text) for name, text in headers if text and (identified or not name.startswith("ce_"))]
    return ShopEvent(kind, order_id.encode(), value, tuple(wanted))
