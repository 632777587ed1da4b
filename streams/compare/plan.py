"""Which orders are sent, and what goes wrong with which: the same for all ways."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from models.payment import PaymentCompleted
from streams.failure.errors import InputError
from streams.invoices.event import ShopEvent
from streams.invoices.files import read_files

DELAY: Final = 0.05
"""Seconds that the slow listener takes: a good answer time of a mail server or of somebody's HTTP service."""
EVERY: Final = 0.005
"""Seconds between two customers: a busy minute. Eight threads that take 50 ms each keep up with 6 ms."""

# Each run sends all of them, and the synchronous way needs the delay for each, twice over: 150 fit into a minute.
MOST: Final = 150
# With fewer, there is no middle in which to kill, and no room for faults.
FEWEST: Final = 20
# Of a hundred orders, four meet a mail server that is busy, and two one that does not want them.
_BUSY_EVERY: Final = 25
_REFUSED_EVERY: Final = 50


@dataclass(frozen=True, slots=True)
class Order:
    """A valid payment of an order.

    Attributes:
        id: the order's.
        body: the payment event as the shop writes it, JSON on one line.
    """

    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong in a run.

    Attributes:
        delay: seconds that each notification takes.
        busy: orders whose first attempt fails.
        refused: orders of which every attempt fails.
    """

    delay: float = 0.0
    busy: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()

    def variable(self, journal: Path) -> dict[str, str]:
        """Return the environment variable that tells a shop or a worker; it notes in the file what failed."""
        said = {
            "delay": self.delay,
            "busy": sorted(self.busy),
            "refused": sorted(self.refused),
            "journal": str(journal),
        }
        return {"SHOP_FAULTS": json.dumps(said)}


def read_orders(path: Path) -> list[Order]:
    """Read the orders: the first payment of each order, as long as it is valid, up to 150.

    What is invalid is left out, for all ways alike: here, nothing shall go wrong that was not meant to.

    Raises:
        InputError: the file is wrong, or holds fewer than 20 valid orders.
    """
    orders: dict[str, Order] = {}
    for event in read_files([path]).payments:
        order = _order(event)
        if order is not None:
            orders.setdefault(order.id, order)
        if len(orders) == MOST:
            break
    if len(orders) < FEWEST:
        raise InputError(path, f"holds {len(orders)} valid orders; a comparison needs {FEWEST} at least")
    return list(orders.values())


def _order(event: ShopEvent) -> Order | None:
    try:
        return Order(PaymentCompleted.model_validate_json(event.value).order_id, event.value)
    except ValidationError:
        return None


def choose_faults(orders: Sequence[Order]) -> Faults:
    """Choose the orders whose notification fails: some once, some always, none of both."""
    ids = [order.id for order in orders]
    return Faults(busy=frozenset(ids[4::_BUSY_EVERY]), refused=frozenset(ids[10::_REFUSED_EVERY]))
