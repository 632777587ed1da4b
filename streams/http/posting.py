"""Posting over connections that are kept, to servers that close them when they like.

A kept connection may be closed by the server at the very moment at which the next request is on its way: after an idle
time, after each answer without a word of it, or because the server's process is replaced. Nobody can see that before
(RFC 9112, section 9.3.1), and it says nothing of the server's health. So what is lost in this way is posted once more,
at once, over a connection that is new. It may then have been seen twice, which is why everything that is posted here
carries an id by which its receiver knows a repeat.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractCookieJar, AbstractResolver
from yarl import URL

from streams.http.requests import USER_AGENT, read_off

# What a server says before it closes a connection on which it has waited for too long: it may cross the next request on
# its way, and is then no answer to that (RFC 9110, section 15.5.9).
_WAITED_TOO_LONG: Final = 408


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server has answered.

    Attributes:
        status: its status.
        retry_after: the header of that name; None if there was none.
        lost: it is about another request: the server gave up a kept connection before it saw this one.
    """

    status: int
    retry_after: str | None
    lost: bool


class Poster:
    """Posts requests, each of which can be told from others by its id, over connections that are kept.

    Arguments:
        seconds: for one request, both attempts together.
        headers: sent with each.
        resolver: makes one of host names, in a running loop; the system's if None.
        keep_cookies: send to a host what it has set. Not where customers may share a host.
    """

    def __init__(
        self,
        seconds: float,
        headers: Mapping[str, str],
        *,
        resolver: Callable[[], AbstractResolver] | None = None,
        keep_cookies: bool = False,
    ) -> None:
        self._seconds = seconds
        self._headers = {"User-Agent": USER_AGENT, **headers}
        self._resolver = resolver
        self._keep_cookies = keep_cookies
        self._cookies: AbstractCookieJar | None = None
        self._kept: aiohttp.ClientSession | None = None
        self._new: aiohttp.ClientSession | None = None

    async def post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post a request; once more, over a new connection, if the one that it went over is lost.

        Raises:
            aiohttp.ClientError, asyncio.TimeoutError, OSError: there is no answer.
            ValueError: a request cannot be made of it.
        """
        began = time.monotonic()
        if self._kept is None:
            self._kept = self._session(force_close=False)
        try:
            answer = await self._once(self._kept, url, body, headers, self._seconds)
        except (aiohttp.ClientError, OSError) as error:
            if not _lost(error):
                raise
        else:
            if not answer.lost:
                return answer
        left = self._seconds - (time.monotonic() - began)
        if self._new is None:
            # A pool would give out the next connection that it keeps, which may have been closed along with this one.
            self._new = self._session(force_close=True)
        return await self._once(self._new, url, body, headers, max(left, 0.001))  # 0 would be no limit

    async def _once(
        self, session: aiohttp.ClientSession, url: URL, body: bytes, headers: Mapping[str, str], seconds: float
    ) -> Answer:
        async with session.post(
            url, data=body, headers=headers, allow_redirects=False, timeout=aiohttp.ClientTimeout(seconds)
        ) as answer:
            closes = answer.headers.get("Connection", "").lower() == "close"
            await read_off(answer)
            lost = answer.status == _WAITED_TOO_LONG and closes
            return Answer(answer.status, answer.headers.get("Retry-After"), lost)

    def _session(self, *, force_close: bool) -> aiohttp.ClientSession:
        if self._cookies is None:
            self._cookies = aiohttp.CookieJar() if self._keep_cookies else aiohttp.DummyCookieJar()
        options: dict[str, Any] = {} if self._resolver is None else {"resolver": self._resolver()}
        connector = aiohttp.TCPConnector(force_close=force_close, **options)
        return aiohttp.ClientSession(connector=connector, cookie_jar=self._cookies, headers=self._headers)

    async def close(self) -> None:
        """Close the connections."""
        for session in (self._kept, self._new):
            if session is not None:
                await session.close()
        self._kept = self._new = None


def _lost(error: Exception) -> bool:
    """Whether a connection that was there has broken; one that never came about is the server's trouble."""
    broken = isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError))
    return broken and not isinstance(error, aiohttp.ClientConnectorError)
