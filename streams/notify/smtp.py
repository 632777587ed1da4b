"""Letters through a mail server.

::

    connect ─▶ STARTTLS ─▶ login ─▶ MAIL ─▶ RCPT ─▶ DATA ─▶ the letter and its final dot ─▶ the server has it
    └────────── the server's trouble ──────────┘   └─ judged by the answer ──────────────┘

The mail server is everybody's: when it is in trouble, all letters wait, and none is given up. What may be one
letter's fault is never taken for that, or all others would wait behind it for ever.
"""

from __future__ import annotations

import asyncio
import functools
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

import aiosmtplib
from aiosmtplib import SMTPException, SMTPHeloError, SMTPResponseException, SMTPServerDisconnected
from async_timeout import timeout

from streams.failure.errors import DependencyUnavailable, PermanentError, RecordError, TransientError
from streams.failure.open_files import shortage
from streams.notify.letter import Letter
from streams.notify.mail import as_bytes, make_message
from streams.notify.smtp_answers import Fault, Step, enhanced, judge
from streams.settings.notifications import NotificationSettings, address_of

DEPENDENCY: Final = "smtp"
"""The name under which breakers and pages show it."""

_SETTING: Final = "PAYSTREAM_NOTIFICATIONS__SMTP"
# Of smtp_timeout, for all steps until the server has the letter. With the final wait, this must end before
# the handler's time-out does: that would be counted as the record's fault.
_DIALOGUE_STEPS: Final = 2
_OK: Final = 250
_WILL_FORWARD: Final = 251
_GO_AHEAD: Final = 354
_ASKED_FOR: Final = {Step.SENDER: {_OK}, Step.RECIPIENT: {_OK, _WILL_FORWARD}, Step.LETTER: {_GO_AHEAD}}


class SmtpSender:
    """Sends letters, each over a connection of its own.

    Arguments:
        settings: the mail server, and who letters are from.
    """

    def __init__(self, settings: NotificationSettings) -> None:
        self._settings = settings
        self.host = settings.smtp_host
        self.patience = _DIALOGUE_STEPS * settings.smtp_timeout + settings.smtp_final_timeout
        """Seconds that one letter may take."""

    async def send(self, request_id: str, address: str, letter: Letter) -> None:
        """Send a letter; the server has taken it when this returns.

        Raises:
            PermanentError: the server will never take it, or the address is none.
            TransientError: it may take it later, or has not said whether it has taken it.
            DependencyUnavailable: there is no server, it is in trouble, or it refuses us and not the letter.
        """
        message = make_message(self._settings.sender, request_id, address, letter)
        async with self._connection() as client:
            try:
                async with timeout(_DIALOGUE_STEPS * self._settings.smtp_timeout):
                    await self._open(client)
                    await self._announce(client, address)
            except asyncio.TimeoutError:
                # Whatever is answered now would be taken for the answer to what is said next.
                client.close()
                raise self._outage("time-out") from None
            await self._hand_over(client, as_bytes(message, address))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosmtplib.SMTP]:
        """Give a client that is not connected yet, and hang up afterwards, politely where there is somebody."""
        settings = self._settings
        client = aiosmtplib.SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            timeout=settings.smtp_timeout,
            use_tls=settings.smtp_security == "tls",
            start_tls=False,
        )
        try:
            yield client
            _say_goodbye(client)
        except RecordError:
            _say_goodbye(client)
            raise
        finally:
            client.close()

    async def _open(self, client: aiosmtplib.SMTP) -> None:
        """Connect, encrypt and log in, as it is set.

        Raises:
            DependencyUnavailable: one of it fails. No letter has been named yet, so it is no letter's fault.
        """
        settings = self._settings
        with self._outages("greeting refused"):
            client.local_hostname = await asyncio.to_thread(own_name)
            await client.connect()
            await _greet(client)
        if settings.smtp_security == "starttls":
            await self._encrypt(client)
        if settings.smtp_username is not None:
            await self._log_in(client, settings.smtp_username)

    async def _encrypt(self, client: aiosmtplib.SMTP) -> None:
        if not client.supports_extension("starttls"):
            raise self._outage(f"does not offer STARTTLS: set {_SETTING}_SECURITY to tls or none, or another port")
        with self._outages("STARTTLS refused"):
            await client.starttls()
            await _greet(client)

    async def _log_in(self, client: aiosmtplib.SMTP, username: str) -> None:
        if not client.supported_auth_methods:
            raise self._outage(
                f"does not offer AUTH PLAIN, LOGIN or CRAM-MD5: set {_SETTING}_SECURITY, as many do only once the "
                f"connection is encrypted, or no {_SETTING}_USERNAME"
            )
        password = self._settings.smtp_password
        with self._outages("login refused"):
            await client.login(username, password.get_secret_value() if password is not None else "")

    async def _announce(self, client: aiosmtplib.SMTP, address: str) -> None:
        """Say from whom and to whom a letter is, until the server asks for the letter itself.

        The commands are written here and not by the library, which parses an address once more, and may find
        another one in it.

        Raises:
            PermanentError: the server will never take a letter to this address.
            TransientError: it may later, or hangs up or keeps silent instead of saying so.
            DependencyUnavailable: it refuses us, it is in trouble, or does not answer in time.
        """
        option = [] if address.isascii() else [_smtputf8(client)]
        sender = address_of(self._settings.sender)
        await self._ask(client, Step.SENDER, f"MAIL FROM:<{sender}>", *option)
        await self._ask(client, Step.RECIPIENT, f"RCPT TO:<{address}>")
        await self._ask(client, Step.LETTER, "DATA")

    async def _ask(self, client: aiosmtplib.SMTP, step: Step, *command: str) -> None:
        try:
            answer = await client.execute_command(*(part.encode() for part in command))
        except asyncio.TimeoutError:
            client.close()
            if step is Step.SENDER:
                raise
            # It may be asking the recipient's own server, and that one be dead: all others' letters go on.
            raise TransientError(f"the mail server does not answer when it is given {step.value}") from None
        except (SMTPException, OSError):
            if step is Step.SENDER:
                raise self._outage("hangs up") from None
            # It may be the address that makes it do so. A server that is down does not even let us connect next time.
            raise TransientError(f"the mail server hangs up when it is given {step.value}") from None
        if answer.code not in _ASKED_FOR[step]:
            self._refuse(step, answer.code, answer.message)

    async def _hand_over(self, client: aiosmtplib.SMTP, content: bytes) -> None:
        """Send the letter itself, and wait for as long as a server may need to look through it.

        Raises:
            PermanentError: the server will never take it.
            TransientError: it may later. Or nobody knows whether it has taken it: sent again it would arrive twice,
                so that attempts must be counted, and end.
            DependencyUnavailable: the server says that it is in trouble.
        """
        limit = self._settings.smtp_final_timeout
        protocol = client.protocol
        try:
            if protocol is None:
                raise ConnectionResetError
            protocol.write(_dotted(content))
            answer = await protocol.read_response(timeout=limit)
        except asyncio.TimeoutError:
            client.close()
            raise TransientError(
                f"the mail server has the letter and has not said within {limit:g} s whether it takes it: see "
                f"{_SETTING}_FINAL_TIMEOUT"
            ) from None
        except (SMTPException, OSError):
            client.close()
            raise TransientError(
                "the mail server has the letter and hangs up before it says whether it takes it"
            ) from None
        if answer.code != _OK:
            self._refuse(Step.LETTER, answer.code, answer.message)

    def _refuse(self, step: Step, code: int, text: str) -> None:
        """Raise what an answer means; of its text, nothing is told but the enhanced status code."""
        fault = judge(step, code, text)
        answer = f"{code} {enhanced(text)}".strip()
        if fault is Fault.SERVER:
            raise self._outage(f"refuses {step.value}: {answer}")
        if fault is Fault.LETTER:
            raise PermanentError(f"the mail server refuses {step.value}: {answer}")
        raise TransientError(f"the mail server does not take {step.value} now: {answer}")

    @contextmanager
    def _outages(self, refusal: str) -> Iterator[None]:
        """Take what fails in here for an outage, and say in fixed words what it is.

        Raises:
            DependencyUnavailable: something failed.
        """
        try:
            yield
        except asyncio.TimeoutError:
            raise self._outage("time-out") from None
        except SMTPResponseException as error:
            raise self._outage(f"{refusal}: {error.code}") from None
        except SMTPServerDisconnected:
            raise self._outage(f"{refusal}: hangs up") from None
        except (SMTPException, OSError, ValueError) as error:  # ValueError: the host is no name
            raise self._outage(_cause(error)) from None

    def _outage(self, cause: str) -> DependencyUnavailable:
        return DependencyUnavailable(DEPENDENCY, f"{self.host}:{self._settings.smtp_port}: {cause}")


@functools.cache
def own_name() -> str:
    """Return how this machine names itself to servers; asked for once, as the answer may take seconds."""
    name = socket.getfqdn()
    # RFC 5321, section 4.1.4: who has no name gives an address.
    return name if re.fullmatch(r"[A-Za-z0-9.-]+", name) else "[127.0.0.1]"


async def _greet(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except SMTPHeloError:
        if not client.is_connected:
            raise
        # RFC 5321, section 3.2: a server that does not know EHLO knows HELO.
        await client.helo()


def _say_goodbye(client: aiosmtplib.SMTP) -> None:
    """Say QUIT, as RFC 5321, section 4.1.1.10 wishes, to whoever still listens.

    The answer is not waited for: until the letter is recorded as sent, each moment is one in which a worker that dies
    has it sent again.
    """
    if client.is_connected and client.protocol is not None:
        with suppress(SMTPException, OSError):
            client.protocol.write(b"QUIT\r\n")


def _smtputf8(client: aiosmtplib.SMTP) -> str:
    if not client.supports_extension("smtputf8"):
        raise PermanentError("the customer's address has letters that the mail server does not take: no SMTPUTF8")
    return "SMTPUTF8"


def _cause(error: Exception) -> str:
    if short := shortage(error):
        return short
    found = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(found, ssl.SSLCertVerificationError):
        return "TLS failed: its certificate is not valid here"
    if isinstance(found, ssl.SSLError):
        return "TLS failed"
    if isinstance(found, socket.gaierror):
        seen = "no such host"
    else:
        seen = "connection refused" if isinstance(found, ConnectionRefusedError) else "no connection"
    return f"{seen}; {_SETTING}_HOST and __SMTP_PORT say where the mail server is"


def _dotted(content: bytes) -> bytes:
    """Write a letter as DATA wants it (RFC 5321, section 4.5.2): a dot of its own ends it."""
    lines = content.replace(b"\r\n.", b"\r\n..")
    return lines + (b"" if lines.endswith(b"\r\n") else b"\r\n") + b".\r\n"
