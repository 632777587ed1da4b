"""Steps that block, beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def off_loop(step: Callable[[], T]) -> T:
    """Run a step in a thread of its own, and return what it returns.

    The interpreter does not wait for the thread when it ends, as it does for those of ``asyncio.to_thread``: a disk
    that hangs must not keep a process alive that has been told to stop. Whoever is cancelled here leaves the step to
    itself.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = step()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="paystream file", daemon=True).start()
    return await future
