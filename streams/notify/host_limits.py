"""How many messages one host is given, at once and per second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Host:
    """What one host is being given."""

    slots: asyncio.Semaphore
    free_at: float = field(default=0.0)
    """When the next message may begin, by the loop's clock."""


class HostLimits:
    """Keeps messages to one host apart, evenly and not too many at once; one for each worker.

    Arguments:
        rate: most per second to a host.
        concurrency: most at once to a host.
    """

    def __init__(self, rate: float, concurrency: int) -> None:
        self._apart = 1.0 / rate
        self._concurrency = concurrency
        self._hosts: dict[str, _Host] = {}

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[None]:
        """Wait until the host may be given another message."""
        found = self._hosts.get(host)
        if found is None:
            found = self._hosts[host] = _Host(asyncio.Semaphore(self._concurrency))
        async with found.slots:
            now = asyncio.get_running_loop().time()
            begin = max(found.free_at, now)
            found.free_at = begin + self._apart
            if begin > now:
                await asyncio.sleep(begin - now)
            yield
