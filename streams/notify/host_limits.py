"""How many messages one host is given, at once and per second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

_TIDY_EVERY: Final = 1.0


@dataclass(slots=True)
class _Host:
    """What one host is being given."""

    slots: asyncio.Semaphore
    next: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the one whose turn is next; the others wait for it in the order in which they came."""
    free_at: float = 0.0
    """When the next message may begin, by the loop's clock."""
    users: int = 0
    """How many wait or send."""


class HostLimits:
    """Keeps messages to one host apart, evenly and not too many at once; one for each worker.

    Arguments:
        rate: most per second to a host.
        concurrency: most at once to a host.
    """

    def __init__(self, rate: float, concurrency: int) -> None:
        self.rate = rate
        self.concurrency = concurrency
        self._hosts: dict[str, _Host] = {}
        self._tidy_at = 0.0

    @property
    def hosts(self) -> list[str]:
        """Those it has in mind: all that are in use, and some that were a moment ago."""
        return list(self._hosts)

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[None]:
        """Wait until the host may be given another message. Who is cancelled while waiting takes nobody's time."""
        self._tidy()
        found = self._hosts.get(host)
        if found is None:
            found = self._hosts[host] = _Host(asyncio.Semaphore(self.concurrency))
        found.users += 1
        try:
            await self._wait(found)
            try:
                yield
            finally:
                found.slots.release()
        finally:
            found.users -= 1

    async def _wait(self, host: _Host) -> None:
        clock = asyncio.get_running_loop().time
        async with host.next:
            await host.slots.acquire()
            try:
                begin = max(host.free_at, clock())
                if begin > clock():
                    await asyncio.sleep(begin - clock())
            except BaseException:
                host.slots.release()
                raise
            # Noted only now: what was noted before would be lost with whoever is cancelled while waiting.
            host.free_at = begin + 1.0 / self.rate

    def _tidy(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._tidy_at:
            self._hosts = {name: host for name, host in self._hosts.items() if host.users or host.free_at > now}
            self._tidy_at = now + _TIDY_EVERY
