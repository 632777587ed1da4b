"""What a lane says of itself, for pages, commands and the watchdog."""

from __future__ import annotations

import asyncio
import enum
import time
from dataclasses import dataclass


class State(str, enum.Enum):
    """What a lane is doing."""

    STARTING = "starting"
    FETCHING = "fetching"
    HANDLING = "handling"
    RETRYING = "retrying"
    """A record failed; the lane waits before its next attempt."""
    PAUSED = "paused"
    """A dependency is down; the lane waits until it is back."""
    FINISHING = "finishing"
    HALTED = "halted"
    """The lane needs somebody: see its reason."""
    STOPPED = "stopped"


class Standing:
    """How a lane stands: what it is doing, why it waits, and when it last got anywhere.

    Attributes:
        state: what it is doing.
        reason: why it waits or has halted; empty otherwise.
        changed: set whenever the state is entered anew.
    """

    def __init__(self) -> None:
        self.state = State.STARTING
        self.reason = ""
        self.changed = asyncio.Event()
        self._progress_at = time.monotonic()

    def enter(self, state: State, reason: str = "") -> None:
        """Do something else from now on."""
        self.state = state
        self.reason = reason
        self.changed.set()

    def progressed(self) -> None:
        """The lane got somewhere."""
        self._progress_at = time.monotonic()

    @property
    def quiet_seconds(self) -> float:
        """Since it last got anywhere."""
        return time.monotonic() - self._progress_at


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One partition's lane.

    Attributes:
        group: consumer group.
        topic: of the partition.
        partition: its number.
        state: what the lane is doing.
        next_offset: the offset it will commit next from; None before it knows.
        end_offset: the log's end as last seen; None before the first fetch.
        quiet_seconds: since it last got anywhere: a commit, a verdict, or an empty fetch.
        reason: why it waits or has halted; empty otherwise.
    """

    group: str
    topic: str
    partition: int
    state: State
    next_offset: int | None
    end_offset: int | None
    quiet_seconds: float
    reason: str = ""

    @property
    def lag(self) -> int | None:
        """Records between the lane and the end of the log; None while unknown."""
        if self.next_offset is None or self.end_offset is None:
            return None
        return max(self.end_offset - self.next_offset, 0)
