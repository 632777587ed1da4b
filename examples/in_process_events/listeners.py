"""The shop's listeners: each writes the message that its system gets into a file of that system.

The messages are those of paystream's agent, made by the same code, so that both ways do the same work.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from examples.in_process_events.events import OrderPaid
from examples.in_process_events.faults import Faults
from examples.in_process_events.journal import Journal
from models.analytics import SaleFact
from models.inventory import StockMovement
from models.notification import NotificationRequest
from models.payment import PaymentCompleted
from models.platform import PlatformOrder

logger = logging.getLogger("shop")


class _Message(Protocol):
    def to_json(self) -> bytes:
        """Write it."""


MESSAGES: Final[dict[str, Callable[[PaymentCompleted], _Message]]] = {
    "platform": PlatformOrder.of,
    "notification": NotificationRequest.of,
    "inventory": StockMovement.of,
    "analytics": SaleFact.of,
}
"""The listeners, in the order in which they are called, and the message of each."""


class MessageListener:
    """Tells one system of each paid order.

    Arguments:
        name: of the system.
        folder: its file is ``<name>.jsonl`` there.
        faults: what goes wrong in the notification.
    """

    def __init__(self, name: str, folder: Path, faults: Faults) -> None:
        self._name = name
        self._make = MESSAGES[name]
        self._journal = Journal(folder / f"{name}.jsonl")
        self._faults = faults if name == "notification" else Faults()

    def __call__(self, event: OrderPaid) -> None:
        """Tell it of one."""
        time.sleep(self._faults.delay)
        self._faults.check(event.payment.order_id)
        self._journal.append(self._make(event.payment).to_json())
        logger.info("order %s: %s told", event.payment.order_id, self._name)

    def close(self) -> None:
        """Close its file."""
        self._journal.close()


class LoyaltyListener:
    """A system that came later: points for every paid order.

    Arguments:
        folder: its file is ``loyalty.jsonl`` there.
    """

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder / "loyalty.jsonl")

    def __call__(self, event: OrderPaid) -> None:
        """Give a point for every whole unit of money."""
        self._journal.write({"orderId": event.payment.order_id, "points": int(event.payment.amount)})

    def close(self) -> None:
        """Close its file."""
        self._journal.close()
