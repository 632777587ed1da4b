"""Places between a lane's steps where a test can make the process die.

``PAYSTREAM_CRASH_AT=after_send`` ends the process, as SIGKILL would, the first time the named point is
reached; ``after_send:3`` the third time. Not set, a point costs one comparison.
"""

from __future__ import annotations

import os
from typing import Final, Literal, get_args

from streams.failure.errors import SetupError

CrashPoint = Literal[
    "after_fetch", "after_notify", "after_handling", "after_send", "after_offsets", "before_rename", "after_commit"
]
CRASH_POINTS: Final[tuple[CrashPoint, ...]] = get_args(CrashPoint)
VARIABLE: Final = "PAYSTREAM_CRASH_AT"

# What a shell reports for a process ended by SIGKILL, which this imitates.
_STATUS: Final = 137


def _read(text: str) -> tuple[str, int]:
    """Return the armed point and how often it is to be reached.

    Raises:
        SetupError: there is no such point; a test would wait for it for ever.
    """
    point, _, count = text.partition(":")
    if text and (point not in CRASH_POINTS or not (count or "1").isdecimal()):
        raise SetupError(f"{VARIABLE}={text}: must be one of {', '.join(CRASH_POINTS)}, with :N for the Nth time")
    return point, int(count or 1)


_armed, _remaining = _read(os.environ.get(VARIABLE, ""))


def crash_point(point: CrashPoint) -> None:
    """Die here if the environment says so."""
    global _remaining
    if point != _armed:
        return
    _remaining -= 1
    if _remaining <= 0:
        os._exit(_STATUS)
