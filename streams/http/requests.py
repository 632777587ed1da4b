"""What our HTTP requests say of themselves, and what has become of those that failed."""

from __future__ import annotations

import asyncio
import hashlib
import re
from contextlib import suppress
from importlib.metadata import version
from typing import Final

import aiohttp
from async_timeout import timeout
from yarl import URL

from streams.failure.open_files import shortage

USER_AGENT: Final = f"paystream/{version('paystream')}"
"""Who asks, so that whoever is asked knows whom to write to."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_:-]{1,255}")
# Nothing that would have to be escaped, and escapes that are complete: RFC 3986, sections 2 and 3.3.
_AS_WRITTEN: Final = re.compile(
    r"https?://[a-z0-9._-]+(?::[0-9]+)?/(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*", re.ASCII
)
# An answer's body is read only so that the connection can be kept: a longer one, or a slow one, is not worth it.
_READ_BYTES: Final = 65_536
_READ_SECONDS: Final = 1.0


def url_as_written(text: str) -> URL:
    """Read a URL so that its path and its query are sent as they stand.

    Otherwise yarl writes ``%2F`` in a query as ``/``, and ``%2e%2e`` in a path as a step upwards: the same to most
    servers, but not to one that compares a signature. What is no URL without being escaped, yarl escapes.

    Raises:
        ValueError: it is none.
    """
    url = URL(text)  # judges host and port, which it would not do otherwise
    return URL(text, encoded=True) if _AS_WRITTEN.fullmatch(text) else url


def header_id(name: str) -> str:
    """Write a record's id as a header that every receiver reads alike: always the same for the same id.

    An id of other characters is sent as a hash. Blanks at its ends are stripped on the way and what is not ASCII is
    decoded in more than one way; a dot separates the parts of what a webhook's signature covers.
    """
    return name if _PLAIN.fullmatch(name) else hashlib.sha256(name.encode()).hexdigest()[:40]


async def read_off(answer: aiohttp.ClientResponse) -> None:
    """Read what is left of a short answer, so that its connection can serve the next request; never raises."""
    left = _READ_BYTES
    with suppress(aiohttp.ClientError, asyncio.TimeoutError, OSError):
        async with timeout(_READ_SECONDS):
            while left > 0 and (piece := await answer.content.read(left)):
                left -= len(piece)


def why_not(error: Exception) -> str:
    """Say in fixed words why a request got no answer; what the error says itself may hold the URL, and secrets."""
    if short := shortage(error):
        return short
    if isinstance(error, asyncio.TimeoutError):  # aiohttp's own are as well
        return "time-out"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no such host"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not valid here"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError):
        return "connection refused"
    return type(error).__name__
