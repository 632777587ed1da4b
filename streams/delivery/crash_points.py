"""Places between a lane's steps where a test can make the process die.

``PAYSTREAM_CRASH_AT=after_send`` ends the process, as SIGKILL would, the first time the named point is
reached; ``after_send:3`` the third time. Not set, a point costs one comparison.
"""

from __future__ import annotations

import os
from typing import Final, Literal, get_args

CrashPoint = Literal["after_fetch", "after_handling", "after_send", "after_offsets", "after_commit"]
CRASH_POINTS: Final[tuple[CrashPoint, ...]] = get_args(CrashPoint)
VARIABLE: Final = "PAYSTREAM_CRASH_AT"

# What a shell reports for a process ended by SIGKILL, which this imitates.
_STATUS: Final = 137

_armed, _, _count = os.environ.get(VARIABLE, "").partition(":")
_remaining = int(_count or 1)


def crash_point(point: CrashPoint) -> None:
    """Die here if the environment says so."""
    global _remaining
    if point != _armed:
        return
    _remaining -= 1
    if _remaining <= 0:
        os._exit(_STATUS)
