"""The topics of the pipeline, declared once."""

from __future__ import annotations

from collections.abc import Sequence

from streams.kafka.topic_admin import TopicSpec
from streams.settings import Settings
from streams.settings.topics import DEAD_LETTER_ROOM

PAYMENT_COMPLETED = "payment.completed"
PAYMENT_CANCELLED = "payment.cancelled"
PLATFORM_ORDERS = "platform.orders"
NOTIFICATION_REQUESTS = "notification.requests"
INVENTORY_MOVEMENTS = "inventory.movements"
ANALYTICS_SALES = "analytics.sales"

ORDER_EVENTS = (
    PAYMENT_COMPLETED,
    PAYMENT_CANCELLED,
)
"""What the shop writes."""
OUTPUTS = (PLATFORM_ORDERS, NOTIFICATION_REQUESTS, INVENTORY_MOVEMENTS, ANALYTICS_SALES)
"""What follows from it."""
EVENTS = (*ORDER_EVENTS, *OUTPUTS)
CONSUMED = EVENTS
"""Topics that agents of ours read, each of which therefore has a dead-letter topic."""


def dead_letter_topic(settings: Settings, topic: str) -> str:
    """Name the dead-letter topic of a topic."""
    return topic + settings.failure.dead_letter_suffix


def dead_letter_topics(settings: Settings) -> tuple[str, ...]:
    """Name the dead-letter topic of every topic our agents read."""
    return tuple(dead_letter_topic(settings, topic) for topic in CONSUMED)


def declared_topics(settings: Settings, further: Sequence[str] = ()) -> tuple[TopicSpec, ...]:
    """Describe every topic the pipeline needs, dead-letter topics included.

    Arguments:
        settings: partitions, replication and so on.
        further: topics of somebody's own agents, to be like the other events'.
    """

    def spec(name: str, retention: float, room: int = 0) -> TopicSpec:
        return TopicSpec(
            name=name,
            partitions=settings.topics.partitions,
            replication=settings.topics.replication,
            config={
                "cleanup.policy": "delete",
                "retention.ms": str(int(retention * 1000)),
                "max.message.bytes": str(settings.topics.max_message_bytes + room),
                "min.insync.replicas": str(settings.topics.min_insync_replicas),
            },
        )

    events = [spec(name, settings.topics.retention) for name in (*EVENTS, *further)]
    retention = settings.topics.dead_letter_retention
    letters = [spec(name, retention, DEAD_LETTER_ROOM) for name in dead_letter_topics(settings)]
    return (*events, *letters)
