"""A real HTTP server that keeps what it is posted, and answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Post:
    """What came in one request; header names are in lower case."""

    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """Answers with each of `answers` in turn, and with 200 when there are no more; 0 does not answer at all."""

    url: str = ""
    posts: list[Post] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.posts.append(Post(headers, await request.read()))
        status = self.answers.pop(0) if self.answers else 200
        if not status:
            await self.over.wait()
        return web.Response(status=status, headers={"Location": self.url} if 300 <= status < 400 else {})


@asynccontextmanager
async def serving(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], path: str = "/"
) -> AsyncIterator[int]:
    """Give every POST to a function, on 127.0.0.1, for as long as the block lasts; yield the port."""
    application = web.Application()
    application.router.add_post(path, answer)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def receiver(*answers: int) -> AsyncIterator[Receiver]:
    """Run a receiver on 127.0.0.1 for as long as the block lasts."""
    made = Receiver(answers=list(answers))
    async with serving(made.handle) as port:
        made.url = f"http://127.0.0.1:{port}/"
        try:
            yield made
        finally:
            made.over.set()
