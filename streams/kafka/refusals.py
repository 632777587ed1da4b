"""Why a broker that is there does not let us in, in the words of the settings that decide it.

aiokafka logs why a connection failed, forgets it, and says that no broker was ready. Brokers that are away and brokers
that refuse a password need different people, so what a connection failed with is looked into before it is lost.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from streams.kafka import listener
from streams.kafka.credentials import expired_on
from streams.kafka.listener import Listener, alert_in
from streams.settings import KafkaSettings

# OpenSSL's numbers (X509_V_ERR_…), which Python passes on.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_UNKNOWN_AUTHORITY: Final = (2, 18, 19, 20, 21)
_OTHER_NAME: Final = (62, 64)
# A refused client tries again many times a second: once in so long an address is asked what it speaks.
_ASK_AGAIN_SECONDS: Final = 5.0

_BROKEN_OFF: Final = (
    ConnectionResetError,
    ConnectionAbortedError,
    BrokenPipeError,
    EOFError,
    ssl.SSLError,
    KafkaConnectionError,
)
_PREFIX: Final = "PAYSTREAM_KAFKA__"
_asked: Final[dict[tuple[str, int], tuple[float, Listener | None]]] = {}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a connection to a broker could not be made."""

    text: str
    """A sentence without an end."""
    refused: bool
    """Whether it is there and does not let us in, so that waiting does not help."""
    misadvertised: bool = False
    """Whether the brokers themselves have named an address that cannot be."""


async def explain(error: BaseException, kafka: KafkaSettings, host: str, port: int, node: int | None = None) -> Failure:
    """Say why a connection failed.

    Arguments:
        error: what connecting raised.
        kafka: the settings that it was tried with.
        host: where.
        port: where.
        node: the broker that is said to be there, by the brokers themselves; None for an address of the settings.
    """
    at = f"{host}:{port}"
    who = f"the broker at {at}" if node is None else f"broker {node} at {at}"
    refusal = await _refusal(error, kafka, host, port)
    if refusal:
        return Failure(f"{who} {refusal}", refused=True)
    if not isinstance(error, UnicodeError | socket.gaierror):
        return Failure(f"{who} does not answer ({_what(error)})", refused=False)
    # A name server that is away will be back; a name that does not exist stays that.
    passes = getattr(error, "errno", None) == socket.EAI_AGAIN
    text = f"the name {host} cannot be resolved" if passes else f"there is no host of the name {host}"
    if node is None:
        return Failure(text, refused=False)
    return Failure(
        f"broker {node} says that it is at {at}, and {text}: advertised.listeners in that broker's configuration has "
        "to name, for the listener that is used here, an address that can be reached from here",
        refused=False,
        misadvertised=not passes,
    )


async def _refusal(error: BaseException, kafka: KafkaSettings, host: str, port: int) -> str:
    """Say how a broker refuses us; empty if it does not."""
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return _of_its_certificate(each, kafka, host)
        if isinstance(each, SaslAuthenticationFailed):
            return (
                f"refuses the password ({' '.join(map(str, each.args)) or 'it does not say why'}): "
                f"{_PREFIX}SASL_USERNAME, {_PREFIX}SASL_PASSWORD or {_PREFIX}SASL_MECHANISM={kafka.sasl_mechanism} is "
                "wrong, or the user is not known there"
            )
        if isinstance(each, IllegalSaslStateError | UnsupportedSaslMechanismError):
            return _of_its_protocol(await _speaks(host, port), kafka) or "asks for a password in another way"
    if alert := alert_in(error):
        return _of_our_certificate(alert, kafka)
    # That it breaks off is all that one sees of two that speak different protocols.
    return _of_its_protocol(await _speaks(host, port), kafka) if isinstance(error, _BROKEN_OFF) else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


async def _speaks(host: str, port: int) -> Listener | None:
    at, found = _asked.get((host, port), (-_ASK_AGAIN_SECONDS, None))
    if time.monotonic() - at >= _ASK_AGAIN_SECONDS:
        found = await listener.ask(host, port)
        _asked[host, port] = (time.monotonic(), found)
    return found


def _of_its_certificate(error: ssl.SSLCertVerificationError, kafka: KafkaSettings, host: str) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return "shows a certificate that has expired: renew it there, or set the clock of this machine"
    if code == _NOT_YET_VALID:
        return "shows a certificate that is not valid yet: set the clock of this machine, or of the one that made it"
    if code in _UNKNOWN_AUTHORITY:
        trusted = kafka.ssl_cafile or "not set: the system's authorities"
        return (
            "shows a certificate of an authority that is not trusted here: "
            f"{_PREFIX}SSL_CAFILE ({trusted}) has to hold the authority that signed it"
        )
    if code in _OTHER_NAME:
        return (
            f"shows a certificate that is not for {host}: {_PREFIX}BOOTSTRAP_SERVERS, and advertised.listeners in the "
            "brokers' configuration, have to use a name that is in it"
        )
    return f"shows a certificate that is not valid ({error.verify_message})"


def _of_our_certificate(alert: str, kafka: KafkaSettings) -> str:
    said = alert.lower().replace("_", " ")
    if "CERTIFICATE" not in alert and "UNKNOWN_CA" not in alert and "HANDSHAKE" not in alert:
        return f"breaks TLS off ({said}): it allows other versions or ciphers of TLS than this machine"
    if kafka.ssl_certfile is None:
        return f"asks for a client's certificate ({said}): set {_PREFIX}SSL_CERTFILE and {_PREFIX}SSL_KEYFILE"
    shown = f"{_PREFIX}SSL_CERTFILE ({kafka.ssl_certfile})"
    if day := expired_on(kafka.ssl_certfile):
        return f"refuses our certificate: {shown} has expired on {day}; renew it"
    return f"refuses our certificate ({said}): {shown} has to be signed by an authority that the brokers trust"


def _of_its_protocol(speaks: Listener | None, kafka: KafkaSettings) -> str:
    """Say what is wrong about the protocol; empty if nothing is known to be."""
    ours = kafka.security_protocol
    if speaks is None:
        return ""
    tls = ours.endswith("SSL")
    if speaks.wants_certificate and (not tls or kafka.ssl_certfile is None):
        way = f"set {_PREFIX}SSL_CERTFILE and {_PREFIX}SSL_KEYFILE"
        if not tls:
            way = f"{_PREFIX}SECURITY_PROTOCOL={ours} must be {ours.replace('PLAINTEXT', 'SSL')}; {way}, too"
        return f"asks for TLS and a client's certificate: {way}"
    if speaks.protocol != ours and not speaks.wants_certificate:
        how = f" (a password by {', '.join(speaks.mechanisms)})" if speaks.mechanisms else ""
        return (
            f"speaks {speaks.protocol}{how}: {_PREFIX}SECURITY_PROTOCOL={ours} must be that, or "
            f"{_PREFIX}BOOTSTRAP_SERVERS name another port"
        )
    if speaks.mechanisms and ours.startswith("SASL") and kafka.sasl_mechanism not in speaks.mechanisms:
        return (
            f"takes passwords by {', '.join(speaks.mechanisms)}: {_PREFIX}SASL_MECHANISM={kafka.sasl_mechanism} must "
            "be one of these"
        )
    return ""


def _what(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
