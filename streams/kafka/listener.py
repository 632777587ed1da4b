"""Asking an address what is spoken there, where a connection that breaks off does not say why.

A broker that is spoken to in the wrong protocol closes the connection without a word, as does one that is about to
stop. The difference is what an operator needs to know, so it is asked for: no password and no certificate is shown.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Final

from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import SaslHandShakeRequest

from streams.kafka.connection import close_connection, open_connection

# A broker that is there answers within milliseconds; this is for one that is busy.
_SECONDS: Final = 3.0
_SUPPORTED: Final = 0
_UNSUPPORTED_MECHANISM: Final = 33


@dataclass(frozen=True, slots=True)
class Listener:
    """What an address speaks."""

    tls: bool
    mechanisms: tuple[str, ...] = ()
    """How a password may be given; empty if none is asked for."""
    wants_certificate: bool = False
    """Whether it has broken off for want of a client's certificate; what else it asks for is not known then."""

    @property
    def protocol(self) -> str:
        """What PAYSTREAM_KAFKA__SECURITY_PROTOCOL has to be for it."""
        return ("SASL_" if self.mechanisms else "") + ("SSL" if self.tls else "PLAINTEXT")


async def ask(host: str, port: int) -> Listener | None:
    """Ask an address what it speaks; None if it does not answer, or is no Kafka broker."""
    for context in (_trusting(), None):
        try:
            return await asyncio.wait_for(_ask(host, port, context), _SECONDS)
        except (OSError, EOFError, KafkaError, asyncio.TimeoutError, ValueError) as error:
            if context is not None and (alert := alert_in(error)):
                return Listener(tls=True, wants_certificate="CERTIFICATE" in alert)
    return None


async def _ask(host: str, port: int, context: ssl.SSLContext | None) -> Listener:
    connection = await open_connection(
        host,
        port,
        client_id="paystream",
        request_timeout_ms=int(_SECONDS * 1000),
        security_protocol="PLAINTEXT" if context is None else "SSL",
        ssl_context=context,
    )
    try:
        answer = await connection.send(SaslHandShakeRequest("PLAIN"))
    finally:
        await close_connection(connection)
    asks = answer.error_code in (_SUPPORTED, _UNSUPPORTED_MECHANISM)
    return Listener(tls=context is not None, mechanisms=tuple(answer.enabled_mechanisms) if asks else ())


def _trusting() -> ssl.SSLContext:
    """Trust anybody: who it is does not matter to whoever tells it nothing."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def alert_in(error: BaseException | None) -> str:
    """Return what the other side has said, in TLS, against this; empty if nothing."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
            return str(error.reason)
        error = error.__cause__ or error.__context__
    return ""
