"""The dead-letter budget: how many records may fail before it is no longer the records' fault.

After a bad deploy every record fails. Without a budget the whole topic would end in its dead-letter
topic; with one the lane stops and asks. Two limits, each against its own kind of trouble: so many dead
letters in a row (everything fails), and a share of the last records (most things fail).

What is one party's fault (a customer whose server refuses everything) says little of all others: of each
party one letter counts. If all of them fail, it is not theirs any more, and there are many of them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """What a partition may spend.

    Attributes:
        consecutive: most dead letters in a row.
        share: largest share of dead letters among the last `window` records, judged once there were so many.
        window: how many records the share is judged by, and how many parties are remembered.
    """

    consecutive: int
    share: float
    window: int


BudgetState = tuple[tuple[bool, ...], int, int, tuple[str, ...]]
"""How a budget stands at a moment."""


class DeadLetterBudget:
    """Counts one partition's dead letters against its limits.

    Arguments:
        limits: what may be spent.
    """

    __slots__ = ("_blamed", "_consecutive", "_failed", "_limits", "_recent")

    def __init__(self, limits: BudgetLimits) -> None:
        self._limits = limits
        self._recent: deque[bool] = deque(maxlen=limits.window)
        self._failed = 0
        self._consecutive = 0
        self._blamed: dict[str, None] = {}

    def passed(self) -> None:
        """A record was processed."""
        self._consecutive = 0
        self._push(False)

    def spend(self, culprit: str = "") -> str | None:
        """A record is about to be dead-lettered; return why it must not be, or None if it may.

        Arguments:
            culprit: the one party whose fault it is; empty if it may be anybody's.
        """
        limits = self._limits
        if culprit in self._blamed:
            # Among the most recent again: the one that fails least often is forgotten first.
            self._blamed[culprit] = self._blamed.pop(culprit)
            return None
        if self._consecutive >= limits.consecutive:
            return f"{self._consecutive} records in a row were dead-lettered (the limit is {limits.consecutive})"
        if len(self._recent) + 1 >= limits.window:
            leaving = self._recent[0] if len(self._recent) == limits.window else False
            failed = self._failed - leaving + 1
            if failed > limits.share * limits.window:
                return (
                    f"{failed} of the last {limits.window} records would be dead letters (at most {limits.share:.0%})"
                )
        self._consecutive += 1
        self._push(True)
        if culprit:
            self._blame(culprit)
        return None

    def state(self) -> BudgetState:
        """Return how it stands, to be given back to :meth:`restore`."""
        return tuple(self._recent), self._failed, self._consecutive, tuple(self._blamed)

    def restore(self, state: BudgetState) -> None:
        """Forget what has happened since :meth:`state`: it is about to happen again."""
        recent, self._failed, self._consecutive, blamed = state
        self._recent = deque(recent, maxlen=self._limits.window)
        self._blamed = dict.fromkeys(blamed)

    def _blame(self, culprit: str) -> None:
        if len(self._blamed) >= self._limits.window:
            del self._blamed[next(iter(self._blamed))]
        self._blamed[culprit] = None

    def _push(self, failed: bool) -> None:
        recent = self._recent
        if len(recent) == recent.maxlen:
            self._failed -= recent[0]
        recent.append(failed)
        self._failed += failed
