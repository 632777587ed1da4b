"""An event loop in which time passes only where everybody waits, and then at once."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class _Leaping(selectors.DefaultSelector):
    """Leaps over any wait, so that hours pass in no time, and notices when there is nothing to wait for."""

    now = 1_000.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing would ever happen again"
            self.now += max(timeout, 0.0)
        return ready


def virtual_loop() -> asyncio.SelectorEventLoop:
    """Make such a loop; its clock begins anywhere but at 0."""
    selector = _Leaping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    return loop


def in_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a coroutine test in such a loop: how busy the machine is makes no difference to it."""

    @functools.wraps(test)
    def run() -> None:
        loop = virtual_loop()
        try:
            loop.run_until_complete(test())
        finally:
            loop.close()

    del run.__wrapped__  # type: ignore[attr-defined] # pytest would take it for a coroutine function
    return run
