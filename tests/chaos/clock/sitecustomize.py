"""A wall clock that jumps forth and back by CHAOS_CLOCK_SHIFT seconds, every other second."""

from __future__ import annotations

import os
import time

_SHIFT = float(os.environ["CHAOS_CLOCK_SHIFT"])
_time = time.time


def _jumping() -> float:
    return _time() + (_SHIFT if int(time.monotonic()) % 2 else -_SHIFT)


time.time = _jumping
time.time_ns = lambda: int(_jumping() * 1e9)
