"""The checker: a pure function from a history to a verdict.

For every record that stands in the source topic there must be exactly one effect or exactly one dead letter,
as its fate says, with its id and its bytes; and of the records of one key, the effects must stand in the
order of the source, and so must the letters.
"""

from __future__ import annotations

import enum
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from chaos.history import Acknowledged, Effect, Event, Letter, Place, Produced, effect_id
from chaos.ledger import LETTERS

_SHOWN = 5
E = TypeVar("E", Effect, Letter)


class Anomaly(str, enum.Enum):
    """What can be wrong with a record."""

    LOST = "lost"
    """Neither effect nor letter; or acknowledged and not in the source topic."""
    DOUBLED = "doubled"
    REORDERED = "reordered"
    BOTH = "both"
    """An effect and a letter."""
    UNEXPECTED = "unexpected"
    """Nothing explains it, or it is not as it should be."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An anomaly and where it is."""

    anomaly: Anomaly
    source: Place
    what: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the records of a history."""

    produced: int
    effects: int
    letters: int
    findings: tuple[Finding, ...]

    @property
    def exact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def count(self, anomaly: Anomaly) -> int:
        """Count the findings of a kind."""
        return sum(each.anomaly is anomaly for each in self.findings)

    def __str__(self) -> str:
        counts = ", ".join(f"{self.count(each)} {each.value}" for each in Anomaly)
        shown = "".join(f"\n  {each.anomaly.value} at {each.source}: {each.what}" for each in self.findings[:_SHOWN])
        return f"{self.produced} produced, {self.effects} effects, {self.letters} letters: {counts}{shown}"


def check(history: Iterable[Event]) -> Verdict:
    """Judge a history. The order of its events does not matter: places say what came first."""
    events = list(history)
    produced = {each.source: each for each in events if isinstance(each, Produced)}
    effects = [each for each in events if isinstance(each, Effect)]
    letters = [each for each in events if isinstance(each, Letter)]
    findings = [
        Finding(Anomaly.LOST, each.source, f"{each.id} was acknowledged and is not in the source topic")
        for each in events
        if isinstance(each, Acknowledged) and (each.source not in produced or produced[each.source].id != each.id)
    ]
    findings += _ends(produced, effects, letters)
    findings += _strangers(produced, effects, letters)
    findings += _reordered(effects)
    findings += _reordered(letters)
    return Verdict(len(produced), len(effects), len(letters), tuple(findings))


def _ends(produced: Mapping[Place, Produced], effects: Sequence[Effect], letters: Sequence[Letter]) -> list[Finding]:
    """Look for records that did not end exactly once, or not as their fate says."""
    effects_of = Counter(each.source for each in effects)
    letters_of = Counter(each.source for each in letters)
    findings = []
    for source, record in produced.items():
        good, bad = effects_of[source], letters_of[source]
        if good and bad:
            findings.append(Finding(Anomaly.BOTH, source, f"{record.id}: {good} effects, {bad} letters"))
        elif not good and not bad:
            findings.append(Finding(Anomaly.LOST, source, f"{record.id} ({record.fate.value})"))
        elif bool(bad) != (record.fate in LETTERS):
            found = "a letter" if bad else "an effect"
            findings.append(Finding(Anomaly.UNEXPECTED, source, f"{found} of {record.id} ({record.fate.value})"))
        if good > 1 or bad > 1:
            findings.append(Finding(Anomaly.DOUBLED, source, f"{record.id}: {good} effects, {bad} letters"))
    return findings


def _strangers(
    produced: Mapping[Place, Produced], effects: Sequence[Effect], letters: Sequence[Letter]
) -> list[Finding]:
    """Look for effects and letters that no record explains, or that differ from what it explains."""
    findings = []
    ends: list[Effect | Letter] = [*effects, *letters]
    for each in ends:
        record = produced.get(each.source)
        if record is None:
            findings.append(Finding(Anomaly.UNEXPECTED, each.source, f"{each} of a record that was never produced"))
        elif isinstance(each, Effect) and (each.ce_id, each.key) != (effect_id(record.id), record.key):
            findings.append(Finding(Anomaly.UNEXPECTED, each.source, f"{each} is not the effect of {record.id}"))
        elif isinstance(each, Letter) and (each.id, each.key, each.digest) != (record.id, record.key, record.digest):
            findings.append(Finding(Anomaly.UNEXPECTED, each.source, f"{each} is not {record.id} unchanged"))
        if each.at.partition != each.source.partition:
            findings.append(Finding(Anomaly.UNEXPECTED, each.source, f"{each} is in another partition"))
    return findings


def _reordered(found: Sequence[E]) -> list[Finding]:
    """Look for records that stand before an earlier one of their key; repeats are judged by the first."""
    by_key: dict[str, list[E]] = defaultdict(list)
    for each in sorted(found, key=lambda each: each.at):
        by_key[each.key].append(each)
    findings = []
    for key, records in by_key.items():
        seen: set[Place] = set()
        latest: Place | None = None
        for each in records:
            if each.source in seen:
                continue
            seen.add(each.source)
            if latest is not None and each.source < latest:
                findings.append(Finding(Anomaly.REORDERED, each.source, f"of key {key}, after {latest}"))
            latest = max(latest, each.source) if latest is not None else each.source
    return findings
