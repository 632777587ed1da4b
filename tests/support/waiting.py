"""Waiting for conditions with a deadline, never for a fixed time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds; a machine with its hands full takes many times what an idle one does."""


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]], what: str, *, seconds: float = PATIENCE, every: float = 0.02
) -> T: ...


@overload
async def eventually(condition: Callable[[], T], what: str, *, seconds: float = PATIENCE, every: float = 0.02) -> T: ...


async def eventually(condition: Callable[[], Any], what: str, *, seconds: float = PATIENCE, every: float = 0.02) -> Any:
    """Ask until the answer is true, and return it.

    Arguments:
        condition: a function or coroutine function.
        what: is waited for, for the message.
        seconds: how long to ask.
        every: the pause in between, in seconds.

    Raises:
        AssertionError: it never was.
    """
    until = time.monotonic() + seconds
    while True:
        answer = condition()
        result = await answer if inspect.isawaitable(answer) else answer
        if result:
            return result
        assert time.monotonic() < until, f"waited {seconds:g} s in vain for {what}; the last answer was {result!r}"
        await asyncio.sleep(every)
