"""A mail server that keeps what it gets: for the demo, for trying out, and for tests. Needs the extra ``sandbox``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from types import TracebackType
from typing import Any
from weakref import WeakSet

from aiosmtpd.smtp import SMTP, Envelope, Session


# Without slots: aiosmtpd looks at every attribute of its handler, and Python 3.10 has one too many with them.
@dataclass
class Mailbox:
    """Listens on 127.0.0.1 for as long as the ``async with`` block lasts.

    Attributes:
        port: where; 0 lets the operating system choose.
        letters: what has come, in order.
        on_letter: called with each.
        answer: asked before a letter is taken; what it returns, a line such as ``550 no such user``, refuses it.
    """

    port: int = 0
    letters: list[EmailMessage] = field(default_factory=list)
    on_letter: Callable[[EmailMessage], object] = lambda letter: None
    answer: Callable[[str], str | None] = lambda address: None
    _server: asyncio.Server | None = None
    _clients: WeakSet[SMTP] = field(default_factory=WeakSet)

    async def __aenter__(self) -> Mailbox:
        loop = asyncio.get_running_loop()

        def serve() -> SMTP:
            client = SMTP(self, loop=loop, enable_SMTPUTF8=True)
            self._clients.add(client)
            return client

        self._server = await loop.create_server(serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        # Since Python 3.12 closing is over only when the last client has gone, and one that is idle may stay.
        for client in self._clients:
            if isinstance(client.transport, asyncio.WriteTransport):
                client.transport.abort()
        await self._server.wait_closed()

    async def handle_RCPT(  # noqa: N802 - the name that aiosmtpd calls
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[Any]
    ) -> str:
        """Take or refuse a recipient."""
        refusal = self.answer(address)
        if refusal is not None:
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep a letter."""
        content = envelope.content
        letter = message_from_bytes(content if isinstance(content, bytes) else (content or "").encode(), policy=default)
        assert isinstance(letter, EmailMessage), "the policy says so"
        self.letters.append(letter)
        self.on_letter(letter)
        return "250 OK"
