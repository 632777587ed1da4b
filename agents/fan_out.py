"""What follows from an event about an order: one record for each of the four who must hear of it."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol, TypeVar

from models.analytics import SaleFact
from models.inventory import StockMovement
from models.notification import NotificationRequest
from models.order import OrderEvent
from models.platform import PlatformOrder
from streams.delivery import Outbox, Record
from streams.kafka.envelope import Consequences
from streams.topics import ANALYTICS_SALES, INVENTORY_MOVEMENTS, NOTIFICATION_REQUESTS, PLATFORM_ORDERS

E = TypeVar("E", bound=OrderEvent)


class _Output(Protocol):
    """A message that follows from an event."""

    @classmethod
    def of(cls, event: OrderEvent) -> _Output:
        """Build it."""

    def to_json(self) -> bytes:
        """Write it."""


class _Consequence(NamedTuple):
    """Who hears of it, and how."""

    topic: str
    kind: str
    """Part of its id."""
    schema: bytes
    """Its CloudEvents type: the schema of its value, which says itself which event it was."""
    output: type[_Output]


CONSEQUENCES: Final[tuple[_Consequence, ...]] = (
    _Consequence(PLATFORM_ORDERS, "platform", b"shop.platform.order.v1", PlatformOrder),
    _Consequence(NOTIFICATION_REQUESTS, "notification", b"shop.notification.requested.v1", NotificationRequest),
    _Consequence(INVENTORY_MOVEMENTS, "inventory", b"shop.inventory.moved.v1", StockMovement),
    _Consequence(ANALYTICS_SALES, "analytics", b"shop.analytics.sale.v1", SaleFact),
)


def fan_out(record: Record, out: Outbox, model: type[E], source: bytes) -> E:
    """Turn one event into a platform record, a notification, a stock movement and a sale fact.

    Arguments:
        record: the event as it came.
        out: where its consequences go.
        model: what the event must be.
        source: who says what follows from it, a URI reference.

    Returns:
        the event.

    Raises:
        Undecodable: the record is no JSON.
        InvalidRecord: it is not what `model` says.
    """
    event = record.parse(model)
    envelope = record.envelope
    follows = Consequences(
        envelope,
        cause_id=envelope.id or event.event_id,
        cause_kind=event.platform_kind,
        order_id=event.order_id,
        time=envelope.time or event.occurred_at.isoformat(),
        source=source,
    )
    key = event.order_id.encode()
    for topic, kind, schema, output in CONSEQUENCES:
        out.emit(topic, output.of(event).to_json(), key=key, headers=follows.headers(kind, schema))
    return event
