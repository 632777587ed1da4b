"""What was found after a run, and what that means. All numbers of the comparison are computed here."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

SYSTEMS: Final = ("platform", "notification", "inventory", "analytics")
"""Who must hear of every paid order."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An order that was given up, and kept.

    Attributes:
        order: its id.
        place: where it lies, as ``topic-partition@offset``.
        reason: why it was given up, as its headers say.
        attempts: how often it was tried, as they say.
    """

    order: str
    place: str
    reason: str
    attempts: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run came to.

    Attributes:
        paid: the orders that the shop recorded as paid.
        effects: what each system was told, by system and order.
        kept: the orders that were given up and kept.
        struck: the orders whose notification failed at least once.
    """

    paid: Counter[str]
    effects: Mapping[str, Counter[str]]
    kept: tuple[Kept, ...] = ()
    struck: frozenset[str] = frozenset()

    def missing(self) -> dict[str, Counter[str]]:
        """Return the orders that a system was not told of and that are kept nowhere, by system."""
        return {system: self.paid - self._settled(system) for system in SYSTEMS}

    def surplus(self) -> dict[str, Counter[str]]:
        """Return what a system was told too often, or was told though it is kept as well."""
        return {system: self._settled(system) - self.paid for system in SYSTEMS}

    def _settled(self, system: str) -> Counter[str]:
        return self.effects.get(system, Counter()) + Counter(each.order for each in self.kept)

    @property
    def found(self) -> int:
        """Effects that were found."""
        return sum(self.effects.get(system, Counter()).total() for system in SYSTEMS)

    @property
    def lost(self) -> int:
        """Effects that are missing and kept nowhere."""
        return sum(orders.total() for orders in self.missing().values())

    @property
    def doubled(self) -> int:
        """Effects that are there too often."""
        return sum(orders.total() for orders in self.surplus().values())

    def incomplete(self) -> list[str]:
        """Return the orders that some system was not told of, in the order in which they were paid."""
        missing = self.missing().values()
        return [order for order in self.paid if any(order in orders for orders in missing)]

    def recovered(self) -> list[str]:
        """Return the orders that had failed and of which every system was told all the same."""
        given_up = {each.order for each in self.kept}
        return sorted(self.struck - given_up - set(self.incomplete()))


@dataclass(frozen=True, slots=True)
class Waited:
    """How long customers waited for the shop, in milliseconds."""

    median: float
    slowest: float

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Waited:
        """Sum up what was measured."""
        return cls(statistics.median(milliseconds), max(milliseconds))


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A consumer that was added afterwards.

    Attributes:
        past: orders that had been paid before.
        received: how many of those it got.
        new: how many it got of those that came after it, which was one.
    """

    past: int
    received: int
    new: int


@dataclass(frozen=True, slots=True)
class Killed:
    """A run in whose midst the listeners' process was killed and then started again.

    Attributes:
        outcome: of the whole run.
        in_hand: orders that were paid and not settled when it died.
        caught_up: seconds from its restart until all was settled; None where nothing catches up.
    """

    outcome: Outcome
    in_hand: int
    caught_up: float | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """How one way did.

    Attributes:
        name: of the way.
        calm: a run in which one listener is slow and nothing fails.
        waited: how long the customers of that run waited.
        faulty: a run in which a listener fails for some orders.
        killed: a run that was killed.
        newcomer: a consumer that came later.
        trail: what can be told of the sample order of the killed run.
    """

    name: str
    calm: Outcome
    waited: Waited
    faulty: Outcome
    killed: Killed
    newcomer: Newcomer
    trail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that was measured.

    Attributes:
        orders: how many there were in each run.
        delay_ms: how long the slow listener takes.
        refused: the orders that can never be processed.
        sample: the order that is looked for.
        old: the old way, in its variants.
        paystream: ours.
    """

    orders: int
    delay_ms: float
    refused: frozenset[str]
    sample: str
    old: tuple[Way, ...]
    paystream: Way

    @property
    def ways(self) -> tuple[Way, ...]:
        """All ways, ours last."""
        return (*self.old, self.paystream)

    def problems(self) -> tuple[str, ...]:
        """Say in words what paystream lost, doubled, or gave up without need; nothing if it did not."""
        ours = self.paystream
        found = []
        for run, outcome in (("slow", ours.calm), ("failing", ours.faulty), ("killed", ours.killed.outcome)):
            if outcome.paid.total() != self.orders:
                found.append(f"{run}: {outcome.paid.total()} of {self.orders} orders were paid")
            if outcome.lost:
                found.append(f"{run}: {outcome.lost} effects are lost, of {_some(outcome.incomplete())}")
            if outcome.doubled:
                twice = {order for orders in outcome.surplus().values() for order in orders}
                found.append(f"{run}: {outcome.doubled} effects are doubled, of {_some(sorted(twice))}")
            needless = [each.order for each in outcome.kept if run != "failing" or each.order not in self.refused]
            if needless:
                found.append(f"{run}: given up without need: {_some(needless)}")
        if ours.newcomer.received != ours.newcomer.past:
            found.append(f"newcomer: it got {ours.newcomer.received} of {ours.newcomer.past} past orders")
        return tuple(found)

    def as_json(self) -> dict[str, Any]:
        """Return the results for a script."""
        return {
            "orders": self.orders,
            "delay_ms": self.delay_ms,
            "sample": self.sample,
            "ways": {way.name: _way(way) for way in self.ways},
            "problems": list(self.problems()),
        }


def _way(way: Way) -> dict[str, Any]:
    killed, newcomer = way.killed, way.newcomer
    return {
        "waited_ms": {"median": round(way.waited.median, 3), "slowest": round(way.waited.slowest, 3)},
        "calm": _outcome(way.calm),
        "faulty": _outcome(way.faulty),
        "killed": {**_outcome(killed.outcome), "in_hand": killed.in_hand, "caught_up_seconds": killed.caught_up},
        "newcomer": {"past": newcomer.past, "received": newcomer.received, "new": newcomer.new},
        "trail": list(way.trail),
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "paid": outcome.paid.total(),
        "effects_found": outcome.found,
        "effects_lost": {system: orders.total() for system, orders in outcome.missing().items()},
        "effects_doubled": outcome.doubled,
        "orders_incomplete": outcome.incomplete(),
        "orders_struck": sorted(outcome.struck),
        "orders_recovered": outcome.recovered(),
        "orders_kept": [
            {"order": each.order, "place": each.place, "reason": each.reason, "attempts": each.attempts}
            for each in outcome.kept
        ],
    }


def _some(orders: Sequence[str]) -> str:
    return ", ".join(orders[:3]) + (", …" if len(orders) > 3 else "")
