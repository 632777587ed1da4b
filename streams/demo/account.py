"""Whether the numbers add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Source:
    """What one topic of the shop was sent, and what of it could not be processed; by order id.

    Attributes:
        topic: its name.
        published: as the broker confirmed them.
        dead_letter_topic: where its dead letters are.
        dead_letters: those that are there.
    """

    topic: str
    published: Counter[str]
    dead_letter_topic: str
    dead_letters: Counter[str]


@dataclass(frozen=True, slots=True)
class Account:
    """What was sent and where it was found, by order id.

    Attributes:
        sources: the topics that the shop writes to.
        consumed: records that the worker's groups have committed.
        outputs: by topic; the first is the platform's, by which the others are measured.
    """

    sources: tuple[Source, ...]
    consumed: int
    outputs: Mapping[str, Counter[str]] = field(default_factory=dict)

    @property
    def published(self) -> Counter[str]:
        """Everything that was sent to the pipeline."""
        return sum((source.published for source in self.sources), Counter())

    @property
    def dead_letters(self) -> Counter[str]:
        """Everything that could not be processed."""
        return sum((source.dead_letters for source in self.sources), Counter())

    @property
    def platform(self) -> Counter[str]:
        """Orders that became a platform record."""
        return next(iter(self.outputs.values()), Counter())

    def problems(self) -> tuple[str, ...]:
        """Say in words what does not add up; nothing if all of this holds:

        - consumed = published,
        - consumed = platform records + dead letters,
        - every order is either a platform record or a dead letter, as often as it was published,
        - every other output topic has the same orders as the platform, as often.
        """
        found = []
        published, kept = self.published.total(), self.dead_letters.total()
        if self.consumed != published:
            found.append(f"{published} orders were published, but {self.consumed} consumed")
        if self.consumed != self.platform.total() + kept:
            found.append(
                f"{self.consumed} were consumed, but {self.platform.total()} platform records "
                f"and {kept} dead letters make {self.platform.total() + kept}"
            )
        found += differences("platform and dead letters", self.published, self.platform + self.dead_letters)
        for topic, orders in list(self.outputs.items())[1:]:
            found += differences(topic, self.platform, orders)
        return tuple(found)


def differences(where: str, wanted: Counter[str], there: Counter[str]) -> list[str]:
    """Name what is missing somewhere, and what is there too often."""
    missing, surplus = wanted - there, there - wanted
    return [
        f"{where}: {orders.total()} {what} ({some(orders)})"
        for what, orders in (("missing", missing), ("too many", surplus))
        if orders
    ]


def some(names: Iterable[str]) -> str:
    """Name the first few."""
    named = sorted(names)
    return ", ".join(named[:_NAMED]) + (", …" if len(named) > _NAMED else "")
