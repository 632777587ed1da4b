"""Letters through a mail server.

::

    connect ─▶ STARTTLS ─▶ login ─▶ MAIL ─▶ RCPT ─▶ DATA ─▶ the letter and its final dot ─▶ the server has it
    └────────── the server's trouble ──────────┘   └─ judged by the answer ──────────────┘

The mail server is everybody's: when it is in trouble, all letters wait, and none is given up. What may be one
letter's fault is never taken for that, or all others would wait behind it for ever.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import hashlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timezone
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final

import aiosmtplib
from aiosmtplib import SMTPException, SMTPHeloError, SMTPResponseException, SMTPServerDisconnected
from async_timeout import timeout

from streams.failure.errors import DependencyUnavailable, PermanentError, RecordError, TransientError
from streams.notification_settings import NotificationSettings, address_of, is_address
from streams.notify.letter import Letter

DEPENDENCY: Final = "smtp"
"""The name under which breakers and pages show it."""

_SETTING: Final = "PAYSTREAM_NOTIFICATIONS__SMTP"
# Of smtp_timeout, for all steps until the server has the letter. With the final wait, this must end before
# the handler's time-out does: that would be counted as the record's fault.
_DIALOGUE_STEPS: Final = 2
# The letter's fate is settled by then, so that nobody should wait for politeness.
_GOODBYE_SECONDS: Final = 2.0
# Not every server takes 8 bits (RFC 6152); every one takes what is encoded in 7.
_POLICY: Final = SMTP.clone(cte_type="7bit")
_POLICY_UTF8: Final = _POLICY.clone(utf8=True)

_OK: Final = 250
_WILL_FORWARD: Final = 251
_GO_AHEAD: Final = 354


class SmtpSender:
    """Sends letters, each over a connection of its own.

    Arguments:
        settings: the mail server, and who letters are from.
    """

    def __init__(self, settings: NotificationSettings) -> None:
        self._settings = settings
        self.host = settings.smtp_host

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
            await self._hand_over(client, message.as_bytes(policy=_POLICY if address.isascii() else _POLICY_UTF8))

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
            await _say_goodbye(client)
        except RecordError:
            await _say_goodbye(client)
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
            TransientError: it may later, or hangs up instead of saying so.
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
            raise
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
        enhanced = _ENHANCED.match(text)
        answer = f"{code} {enhanced[0]}" if enhanced else str(code)
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


async def _say_goodbye(client: aiosmtplib.SMTP) -> None:
    """Hang up as RFC 5321, section 4.1.1.10 wishes; nothing depends on the answer."""
    if client.is_connected:
        with suppress(SMTPException, OSError, asyncio.TimeoutError):
            await client.quit(timeout=_GOODBYE_SECONDS)


def _smtputf8(client: aiosmtplib.SMTP) -> str:
    if not client.supports_extension("smtputf8"):
        raise PermanentError("the customer's address has letters that the mail server does not take: no SMTPUTF8")
    return "SMTPUTF8"


def _cause(error: Exception) -> str:
    found = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(found, ssl.SSLCertVerificationError):
        return "TLS failed: its certificate is not valid here"
    return "TLS failed" if isinstance(found, ssl.SSLError) else "no connection"


def _dotted(content: bytes) -> bytes:
    """Write a letter as DATA wants it (RFC 5321, section 4.5.2): a dot of its own ends it."""
    lines = content.replace(b"\r\n.", b"\r\n..")
    return lines + (b"" if lines.endswith(b"\r\n") else b"\r\n") + b".\r\n"


# -- what an answer means ----------------------------------------------------------------------------


class Step(enum.Enum):
    """What the server was asked to take; its value is how that is called in a reason."""

    SENDER = "the sender"
    RECIPIENT = "the address"
    LETTER = "the letter"


class Fault(enum.Enum):
    """Whose a refusal is."""

    SERVER = enum.auto()
    """The server's, or ours with it: every letter would be refused."""
    LETTER = enum.auto()
    """This letter's, for good."""
    PASSING = enum.auto()
    """This letter's, or nobody knows whose: it may be taken later."""


_ASKED_FOR: Final = {Step.SENDER: {_OK}, Step.RECIPIENT: {_OK, _WILL_FORWARD}, Step.LETTER: {_GO_AHEAD}}
_ENHANCED: Final = re.compile(r"[45]\.\d{1,3}\.\d{1,3}(?!\S)")
# 421: it closes the channel (RFC 5321, section 3.8); 530 and 454: log in, and encrypt, first, or not now
# (RFC 4954, section 6; RFC 3207, section 4). Some say 454 as well when we have sent too much.
_SERVERS_CODES: Final = frozenset({421, 454, 530})
# RFC 3463, section 3.2: the sender's address, not the recipient's.
_SENDERS_ADDRESS: Final = frozenset({"1.7", "1.8"})
# RFC 4954, section 6: the login has expired or is too weak.
_LOGIN: Final = frozenset({"7.8", "7.9", "7.11"})
# RFC 6531, section 3.5, and RFC 6532: letters of other alphabets are not taken.
_ALPHABET: Final = frozenset({"6.7", "6.9"})
_TOO_BIG: Final = "3.4"
# Also the answer to RCPT is about us where a server puts off the refusal until then, as Postfix does.
_ABOUT_US: Final = re.compile(r"relay|authenticat|client host|sender address", re.I)
_ABOUT_THE_ADDRESS: Final = re.compile(r"gr[ea]y.?list|recipient|mailbox|user", re.I)
_IN_TROUBLE: Final = re.compile(
    r"(system|disk) (storage|space|full)|disk full|service (is )?(not available|unavailable)|shutting down|"
    r"too many connections|throttl|rate limit|server (is )?busy",
    re.I,
)
_MAIL_ADDRESS: Final = re.compile(r"\S*@\S*")


def judge(step: Step, code: int, text: str) -> Fault:
    """Tell whose fault a refusal is: by its code, its enhanced status code (RFC 3463), or else by its words.

    Where it is not certain that every letter would be refused, the letter is blamed: then it is given up in the end,
    and the others get on.

    Arguments:
        step: what was refused.
        code: of the answer.
        text: the rest of it.
    """
    if step is Step.SENDER:
        return _judge_sender(code, text)
    by_letter = Fault.LETTER if 500 <= code <= 599 else Fault.PASSING
    words = _MAIL_ADDRESS.sub(" ", text)
    if code in _SERVERS_CODES or (step is Step.RECIPIENT and code >= 400 and _is_about_us(text, words)):
        return Fault.SERVER
    if 400 <= code <= 499 and _is_in_trouble(text, words):
        return Fault.SERVER
    return by_letter


def _judge_sender(code: int, text: str) -> Fault:
    """The sender is the same for all; only a letter in other alphabets asks for more than others do."""
    return Fault.LETTER if 500 <= code <= 599 and _detail(text) in _ALPHABET else Fault.SERVER


def _is_about_us(text: str, words: str) -> bool:
    detail = _detail(text)
    if detail in _SENDERS_ADDRESS or detail in _LOGIN:
        return True
    return (detail == "" or detail.startswith("7.")) and _ABOUT_US.search(words) is not None


def _is_in_trouble(text: str, words: str) -> bool:
    detail = _detail(text)
    if detail.startswith("3."):
        return detail != _TOO_BIG
    if _ABOUT_THE_ADDRESS.search(words):
        return False
    return detail.startswith("7.") or (detail == "" and _IN_TROUBLE.search(words) is not None)


def _detail(text: str) -> str:
    """Return subject and detail of the enhanced status code, such as ``7.1``; nothing if there is none."""
    found = _ENHANCED.match(text)
    return found[0].partition(".")[2] if found else ""


# -- the letter as mail ------------------------------------------------------------------------------


def make_message(sender: str, request_id: str, address: str, letter: Letter) -> EmailMessage:
    """Write a letter as mail (RFC 5322). A repeat has the same ``Message-ID``.

    Raises:
        PermanentError: the address is no e-mail address.
    """
    if not is_address(address):
        raise PermanentError("the customer's address is no e-mail address")
    message = EmailMessage(policy=_POLICY)
    message["From"] = sender
    message["To"] = address
    message["Subject"] = letter.subject
    # RFC 5322, section 3.6.1: when the letter was ready to be sent. That of the request would be days old after
    # an outage: filters take such letters for spam, and mail programs sort them where nobody looks.
    message["Date"] = datetime.now(timezone.utc)
    message["Message-ID"] = message_id(sender, request_id)
    # RFC 3834: so that nobody's absence note answers.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    message.add_alternative(letter.html, subtype="html")
    return message


def message_id(sender: str, request_id: str) -> str:
    """Name the letter of a request, always alike; whatever the request's id is made of, this is a header."""
    domain = address_of(sender).rpartition("@")[2]
    return f"<{hashlib.sha256(request_id.encode()).hexdigest()[:40]}@{domain}>"
