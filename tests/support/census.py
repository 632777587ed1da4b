"""Looking for every payment in every place where it must be, and in no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord

from support.kafka import read_topic
from support.payments import DEAD_LETTERS, OUTPUTS, Fate, Payment

Place = tuple[str, bytes]
"""A topic and a key."""


@dataclass(slots=True)
class Census:
    """What was found, compared with what was sent.

    Attributes:
        sent: payments.
        found: records in the outputs and the dead-letter topic together.
        missing: where a payment should be and is not.
        doubled: where it is more than once.
        strays: records that no payment explains.
    """

    sent: int
    found: int = 0
    missing: list[Place] = field(default_factory=list)
    doubled: list[Place] = field(default_factory=list)
    strays: list[Place] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether everything is where it must be, once, and nothing else is."""
        return not self.missing and not self.doubled and not self.strays

    def __str__(self) -> str:
        return (
            f"{self.sent} payments sent, {self.found} records found: {len(self.missing)} missing, "
            f"{len(self.doubled)} doubled, {len(self.strays)} strays"
        )


def take_census(sent: Sequence[Payment], found: Iterable[ConsumerRecord]) -> Census:
    """Compare: a good payment belongs in each output once, a bad one in the dead-letter topic, unchanged."""
    seen = Counter((record.topic, record.key) for record in found)
    census = Census(len(sent), seen.total())
    for payment in sent:
        for topic in OUTPUTS if payment.fate is Fate.PROCESSED else (DEAD_LETTERS,):
            place = (topic, payment.key)
            times = seen.pop(place, 0)
            if times == 0:
                census.missing.append(place)
            elif times > 1:
                census.doubled.append(place)
    census.strays = list(seen)
    return census


async def census_of(servers: str, sent: Sequence[Payment]) -> Census:
    """Read all outputs and dead letters as a read_committed consumer sees them, and compare."""
    found = [record for topic in (*OUTPUTS, DEAD_LETTERS) for record in await read_topic(servers, topic)]
    values = {payment.key: payment.raw for payment in sent}
    for record in found:
        if record.topic == DEAD_LETTERS and record.key in values:
            original = values[record.key]
            assert (record.value, record.partition) == (original.value, original.partition)
    return take_census(sent, found)
