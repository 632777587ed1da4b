"""Servers that close connections which a client would keep: nothing is lost for it, and nobody is declared down."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from support.requests import REQUEST

from streams.failure.errors import DependencyUnavailable
from streams.notify.webhook import WebhookDown, WebhookSender
from streams.platform.api import PlatformApi
from streams.settings import NotificationSettings, PlatformSettings, Sink

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
GIVEN_UP = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(slots=True)
class Server:
    """Counts its connections and requests; `behave` is given each connection."""

    behave: Callable[[Server, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    url: str = ""
    connections: int = 0
    seen: list[str] = field(default_factory=list)
    """The id of each request that was read to its end, as often as that was."""
    dropped: int = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.behave(self, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has closed it
        finally:
            writer.close()

    async def head(self, reader: asyncio.StreamReader) -> tuple[str, int]:
        """Read a request's head; return its id and the length of its body."""
        text = (await reader.readuntil(b"\r\n\r\n")).decode()
        found = re.search(r"^(?:idempotency-key|webhook-id): (.*)\r$", text, re.IGNORECASE | re.MULTILINE)
        length = re.search(r"^content-length: (\d+)\r$", text, re.IGNORECASE | re.MULTILINE)
        assert found is not None
        assert length is not None
        return found[1], int(length[1])

    async def request(self, reader: asyncio.StreamReader) -> str:
        name, length = await self.head(reader)
        await reader.readexactly(length)
        self.seen.append(name)
        return name


async def closes_after_each_answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.request(reader)
    writer.write(OK)
    await writer.drain()


async def closes_at_the_next_request(
    server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await server.request(reader)
    writer.write(OK)
    await reader.readexactly(1)
    server.dropped += 1


async def closes_after_an_idle_time(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.request(reader)
    while True:
        writer.write(OK)
        try:
            await asyncio.wait_for(server.request(reader), IDLE)
        except asyncio.TimeoutError:
            return


async def says_that_it_has_waited_too_long(
    server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await server.request(reader)
    writer.write(OK)
    await server.head(reader)  # it crosses the next request on its way
    server.dropped += 1
    writer.write(GIVEN_UP)
    await writer.drain()


async def closes_in_the_middle_of_every_other_request(
    server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    while True:
        name, length = await server.head(reader)
        if (len(server.seen) + server.dropped) % 2 == 0:
            server.dropped += 1
            await reader.readexactly(length // 2)
            return
        await reader.readexactly(length)
        server.seen.append(name)
        writer.write(OK)


async def closes_when_it_has_read_a_request_and_answers_never(
    server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await server.request(reader)


IDLE = 0.02


@asynccontextmanager
async def serving(
    behave: Callable[[Server, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Server]:
    made = Server(behave)
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        yield made


@asynccontextmanager
async def posting(to: str, server: Server, seconds: float = 10.0) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Give what posts a numbered request to a server, as the platform agent or the notifications agent would."""
    if to == "platform":
        api = PlatformApi(PlatformSettings(sink=Sink.HTTP, api_url=server.url, api_timeout=seconds))
        post, close = lambda number: api.post(f"id-{number}", b"{}" * 50), api.close
    else:
        sender = WebhookSender(NotificationSettings(webhook_private=True, webhook_timeout=seconds))
        post = lambda number: sender.send(server.url, SECRET, replace(REQUEST, request_id=f"id-{number}"))  # noqa: E731
        close = sender.close
    try:
        yield post
    finally:
        await close()


both = pytest.mark.parametrize("to", ["platform", "webhook"])


@both
@pytest.mark.parametrize(
    "behave",
    [
        closes_after_each_answer,
        closes_at_the_next_request,
        closes_after_an_idle_time,
        says_that_it_has_waited_too_long,
        closes_in_the_middle_of_every_other_request,
    ],
)
async def test_a_server_that_closes_kept_connections_is_posted_everything_and_never_down(
    to: str, behave: Callable[[Server, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> None:
    async with serving(behave) as server, posting(to, server) as post:
        for number in range(40):
            await post(number)
            if behave is closes_after_an_idle_time:
                await asyncio.sleep(IDLE)  # now, or just before, or just after
    assert sorted(set(server.seen)) == sorted(f"id-{number}" for number in range(40))
    if behave not in (closes_after_each_answer, closes_after_an_idle_time):
        assert server.dropped >= 20, "or it would show nothing"


@both
async def test_connections_that_are_all_closed_at_once_are_not_tried_one_after_the_other(to: str) -> None:
    async with serving(closes_at_the_next_request) as server, posting(to, server) as post:
        for turn in range(3):
            await asyncio.gather(*(post(10 * turn + number) for number in range(8)))
    assert len(set(server.seen)) == 24
    assert server.dropped >= 8


@pytest.mark.parametrize(("to", "error"), [("platform", DependencyUnavailable), ("webhook", WebhookDown)])
async def test_a_server_that_never_answers_is_asked_twice_and_then_down(to: str, error: type[Exception]) -> None:
    async with serving(closes_when_it_has_read_a_request_and_answers_never) as server, posting(to, server) as post:
        with pytest.raises(error, match="ServerDisconnectedError"):
            await post(1)
    assert server.seen == ["id-1", "id-1"], "under one id, so that it knows the repeat"
    assert server.connections == 2


@pytest.mark.parametrize(("to", "error"), [("platform", DependencyUnavailable), ("webhook", WebhookDown)])
async def test_both_attempts_together_take_no_longer_than_one_request_may(to: str, error: type[Exception]) -> None:
    async def dawdles(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        await asyncio.sleep(0.6 if len(server.seen) == 1 else 60)

    async with serving(dawdles) as server, posting(to, server, seconds=1.0) as post:
        began = time.monotonic()
        with pytest.raises(error, match="time-out"):
            await post(1)
        assert time.monotonic() - began < 1.5
    assert len(server.seen) == 2
