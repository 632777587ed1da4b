"""The ledger: payments whose fate is known when they are produced."""

from __future__ import annotations

import enum
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from support.payments import Raw

from streams.kafka.envelope import event_headers

_KEYS_PER_PARTITION = 7
# Often enough that each fate is met in every run of some thousand payments, seldom enough that work goes on.
_MIXED = {"transient": 0.02, "permanent": 0.01, "undecodable": 0.01, "dependency": 0.001, "hang": 0.0005}
_TWICE = 0.02


class Fate(str, enum.Enum):
    """What the handler does with a payment."""

    OK = "ok"
    TRANSIENT = "transient"
    """Fails as often as it says, then succeeds."""
    PERMANENT = "permanent"
    UNDECODABLE = "undecodable"
    DEPENDENCY = "dependency"
    """What it needs is down, for as many probes as it says."""
    HANG = "hang"
    """Awaits something that never comes, the first time."""
    BLOCK = "block"
    """Blocks its whole process for ever, the first time that any worker meets it."""
    HOARD = "hoard"
    """Takes all the memory that there is, the first time."""
    DIE = "die"
    """Ends its process as the kernel's out-of-memory killer would, the first time that any worker meets it."""


LETTERS = (Fate.PERMANENT, Fate.UNDECODABLE)
"""These end in the dead-letter topic, all others in the output."""


@dataclass(slots=True)
class Ledger:
    """Writes payments for each partition, the same ones for the same seed, and remembers their fates.

    Attributes:
        seed: of all choices.
        shares: how often each fate other than OK is chosen.
        twice: which share is produced twice.
        fates: of every payment so far, by id.
    """

    seed: int
    shares: Mapping[str, float] = field(default_factory=lambda: dict(_MIXED))
    twice: float = _TWICE
    fates: dict[str, Fate] = field(default_factory=dict)
    _planted: dict[int, list[Fate]] = field(default_factory=dict)
    _writers: dict[int, Iterator[Raw]] = field(default_factory=dict)

    def plant(self, partition: int, fate: Fate) -> None:
        """Make this the fate of the partition's next payment."""
        self._planted.setdefault(partition, []).append(fate)

    def write(self, partition: int, count: int) -> list[Raw]:
        """Write the partition's next records."""
        writer = self._writers.setdefault(partition, self._writer(partition))
        return [next(writer) for _ in range(count)]

    def _writer(self, partition: int) -> Iterator[Raw]:
        chance = random.Random(f"{self.seed}:{partition}")
        number = 0
        while True:
            number += 1
            planted = self._planted.get(partition)
            fate = planted.pop(0) if planted else self._draw(chance)
            raw = self._record(f"p{partition}-{number}", partition, fate, chance)
            yield raw
            if fate is Fate.OK and chance.random() < self.twice:
                yield raw

    def _draw(self, chance: random.Random) -> Fate:
        drawn = chance.random()
        for name, share in self.shares.items():
            drawn -= share
            if drawn < 0:
                return Fate(name)
        return Fate.OK

    def _record(self, id: str, partition: int, fate: Fate, chance: random.Random) -> Raw:
        self.fates[id] = fate
        value = json.dumps({"id": id, "fate": fate.value, "times": chance.randint(1, 3)}).encode()
        if fate is Fate.UNDECODABLE:
            value = value[:-1] + b"\xff"
        key = f"k{partition}-{chance.randrange(_KEYS_PER_PARTITION)}".encode()
        headers = event_headers(
            id=id, source="/chaos", type="chaos.payment.v1", time="2010-12-01T08:26:00Z", subject=key.decode()
        )
        return Raw(partition, key, value, tuple(headers))
