"""Steps that block, beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


async def off_loop(step: Callable[[], T]) -> T:
    """Run a step in a thread of its own, and return what it returns.

    The interpreter does not wait for the thread when it ends, as it does for those of ``asyncio.to_thread``: a disk
    that hangs must not keep a process alive that has been told to stop. Whoever is cancelled here leaves the step to
    itself.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(settler: Callable[[Any], None], outcome: object) -> None:
        if not future.done():  # or whoever waited was cancelled
            settler(outcome)

    def run() -> None:
        try:
            settling = partial(settle, future.set_result, step())
        except BaseException as error:
            settling = partial(settle, future.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settling)

    threading.Thread(target=run, name="paystream file", daemon=True).start()
    return await future
