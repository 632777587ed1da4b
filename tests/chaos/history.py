"""A history: what was seen, each event a line of JSON if need be."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass

from chaos.ledger import Fate


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a record is in its topic."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The brokers said that a payment is written there."""

    source: Place
    id: str


@dataclass(frozen=True, slots=True)
class Produced:
    """A payment stands in the source topic. Produced twice, it stands there twice, with the same id."""

    source: Place
    id: str
    key: str
    fate: Fate
    digest: str
    """Of the value's bytes."""


@dataclass(frozen=True, slots=True)
class Effect:
    """A record in the output topic."""

    at: Place
    source: Place
    """Which record it is the effect of; the handler copies it."""
    ce_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A record in the dead-letter topic."""

    at: Place
    source: Place
    """Which record it was, says its header."""
    id: str
    key: str
    digest: str


Event = Acknowledged | Produced | Effect | Letter


def effect_id(id: str) -> str:
    """Return the id that the effect of a payment has, however often it happens."""
    return f"{id}:effect"


def as_lines(history: Iterable[Event]) -> str:
    """Write a history as JSON lines."""
    return "".join(json.dumps({"event": type(each).__name__, **dataclasses.asdict(each)}) + "\n" for each in history)
