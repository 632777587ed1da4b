"""What goes wrong, equally for both ways: a mail server that is slow, busy, or refuses for good.

``SHOP_FAULTS`` holds it as JSON, for example ``{"delay": 0.05, "busy": ["536365"], "refused": []}``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from examples.in_process_events.journal import Journal

VARIABLE: Final = "SHOP_FAULTS"


class Busy(Exception):
    """Not now; a second attempt would succeed."""


class Refused(Exception):
    """Never; this order's notification cannot be sent."""


class Faults:
    """Strikes the notification of the orders it is told to.

    Attributes:
        delay: seconds that each notification takes.

    Arguments:
        busy: orders whose first attempt fails.
        refused: orders of which every attempt fails.
        journal: where each failure is noted, so that it can be counted; nowhere if None.
    """

    def __init__(
        self,
        delay: float = 0.0,
        busy: tuple[str, ...] | list[str] = (),
        refused: tuple[str, ...] | list[str] = (),
        journal: Journal | None = None,
    ) -> None:
        self.delay = delay
        self._busy = set(busy)
        self._refused = frozenset(refused)
        self._journal = journal

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Faults:
        """Read them from the environment; none if nothing is said there."""
        said: dict[str, Any] = json.loads(environment.get(VARIABLE, "{}"))
        path = said.pop("journal", None)
        return cls(**said, journal=Journal(Path(path)) if path else None)

    def check(self, order_id: str) -> None:
        """Let the order's notification pass, or not.

        Raises:
            Busy: not at the first attempt.
            Refused: not at any.
        """
        if order_id in self._refused:
            self._note(order_id)
            raise Refused("the mail server does not know this recipient")
        if order_id in self._busy:
            self._busy.remove(order_id)
            self._note(order_id)
            raise Busy("the mail server is busy")

    def _note(self, order_id: str) -> None:
        if self._journal is not None:
            self._journal.write({"orderId": order_id})

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()
