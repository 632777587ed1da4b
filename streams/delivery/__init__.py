"""Delivery: from a Kafka partition to an agent's handler and, in one transaction, out again.

::

    partition ──fetch──▶ Lane ──Batch──▶ agent ──handler per record──▶ Outbox ──one transaction──▶ Kafka
                          ▲                                              (outputs + dead letters + offset)
                          └────────────────── commit, or end the process ◀─────────────────────────────┘

Knows nothing of payments. What a handler needs is :class:`Record`, :class:`Outbox` and :class:`Skip`;
what an agent needs is :func:`batches` and :meth:`Batch.handle`.
"""

from streams.delivery.batch import Batch, Handler
from streams.delivery.channel import BatchTopic, batches
from streams.delivery.outbox import Outbox, Output
from streams.failure.errors import Skip
from streams.kafka.record import Header, Headers, Record

__all__ = [
    "Batch",
    "BatchTopic",
    "Handler",
    "Header",
    "Headers",
    "Outbox",
    "Output",
    "Record",
    "Skip",
    "batches",
]
