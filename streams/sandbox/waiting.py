"""Two ways to wait that asyncio lacks, or has only from Python 3.11 on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def side_by_side(steps: Iterable[Awaitable[None]]) -> None:
    """Wait for all of them; when one fails, cancel the others, wait for them and raise its error."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def in_daemon_thread(function: Callable[[], T]) -> T:
    """Run something slow beside the loop, such that Ctrl-C need not wait for its end.

    ``asyncio.to_thread`` would: a loop joins its executor's threads when it closes. An interrupted download
    leaves nothing behind that the next one does not clear away.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, failure = None, None
        try:
            result = function()
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            loop.call_soon_threadsafe(finish, result, failure)

    threading.Thread(target=work, name=f"paystream-{function.__name__}", daemon=True).start()
    return await done
