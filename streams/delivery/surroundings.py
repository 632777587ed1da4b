"""What all lanes of one agent share, and how far a lane may go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.delivery.batch import Rules
from streams.delivery.channel import Handoff
from streams.delivery.damaged import DamagedBatches
from streams.delivery.meter import Meter
from streams.failure.breaker import Breakers
from streams.failure.errors import LaneHalted, PaystreamError


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """Bounds of a lane.

    Attributes:
        records: most records in a batch.
        deadline: seconds that a step may wait for brokers.
    """

    records: int
    deadline: float


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all lanes of one agent share.

    Attributes:
        consumer: the group's; a lane alone reads and seeks its partition.
        group: the consumer group's name.
        handoff: the agent's queue.
        rules: how to treat records.
        limits: bounds.
        meter: told what was fetched and committed.
        breakers: of the worker's dependencies.
        fail: called with the reason if a lane cannot go on; it ends the process.
        halted: called when a partition's lane has halted and is dead; makes it anew when that is due.
        damaged: what lanes could not read, and what of it may be passed over.
    """

    consumer: AIOKafkaConsumer
    group: str
    handoff: Handoff
    rules: Rules
    limits: LaneLimits
    meter: Meter
    breakers: Breakers
    fail: Callable[[PaystreamError], None]
    halted: Callable[[TopicPartition, LaneHalted], None]
    damaged: DamagedBatches = field(default_factory=DamagedBatches)
