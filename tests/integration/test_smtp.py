"""Letters and the mail server: encryption, logins, and servers that are slow, in trouble, or hang up."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from support.certificate import Certificate
from support.waiting import eventually

from streams.failure.errors import DependencyUnavailable, PermanentError, TransientError
from streams.notify import smtp
from streams.notify.letter import Letter
from streams.notify.mailbox import Mailbox
from streams.notify.smtp import SmtpSender
from streams.sandbox.process import free_ports
from streams.settings import NotificationSettings

LETTER = Letter("Your order", "Thank you\n.\n..\n", "<p>Thank you</p>")
ADDRESS = "one@customer.example"
SETTINGS = "PAYSTREAM_NOTIFICATIONS__SMTP_HOST and __SMTP_PORT say where the mail server is"


def sender(port: int, **changes: object) -> SmtpSender:
    smtp.own_name()  # which may take longer than a test's time-outs
    chosen = {"smtp_port": port, "smtp_timeout": 5, "smtp_final_timeout": 5, **changes}
    return SmtpSender(NotificationSettings.model_validate(chosen))


# -- a server that says what it is told to -----------------------------------------------------------


@dataclass
class Scripted:
    """Says to each command what `answers` has for it, and to a letter what is there under DOT.

    None hangs up, and an empty answer says nothing. Every answer comes after `delay`, the one to a letter after
    `final_delay`.
    """

    answers: dict[str, str | None] = field(default_factory=dict)
    delay: float = 0.0
    final_delay: float = 0.0
    port: int = 0
    heard: list[str] = field(default_factory=list)
    letters: list[bytes] = field(default_factory=list)

    async def has_heard(self, command: str) -> None:
        """Wait until it has heard this last: whoever says it does not wait for the answer."""
        await eventually(lambda: self.heard[-1:] == [command], f"{command} to be heard")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Scripted]:
        connections: set[asyncio.Task[None]] = set()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                await self._talk(reader, writer)
            except (ConnectionError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections)
            await server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers = {"GREET": "220 here", "DATA": "354 go on", "QUIT": "221 bye", **self.answers}
        if not await self._say(writer, answers["GREET"]):
            return
        while line := await reader.readline():
            command = line.decode(errors="replace").strip()
            self.heard.append(command)
            verb = command.split()[0].upper()
            answer = answers.get(verb, "250 ok")
            if not await self._say(writer, answer):
                return
            if verb == "DATA" and answer is not None and answer.startswith("354"):
                self.letters.append(await reader.readuntil(b"\r\n.\r\n"))
                await asyncio.sleep(self.final_delay)
                if not await self._say(writer, answers.get("DOT", "250 taken")):
                    return

    async def _say(self, writer: asyncio.StreamWriter, answer: str | None) -> bool:
        if answer is None:
            return False
        await asyncio.sleep(self.delay if answer else 60)
        writer.write(answer.encode() + b"\r\n")
        await writer.drain()
        return True


async def test_a_letter_is_handed_over_with_its_own_addresses_and_its_dots() -> None:
    async with Scripted().running() as server:
        await sender(server.port).send("pay-1", ADDRESS, LETTER)
        await server.has_heard("QUIT")
    assert server.heard[1:] == [
        "MAIL FROM:<orders@shop.example>", f"RCPT TO:<{ADDRESS}>", "DATA", "QUIT",
    ]  # fmt: skip
    (letter,) = server.letters
    assert b"\r\n..\r\n...\r\n" in letter
    assert letter.count(b"\r\n.\r\n") == 1


@pytest.mark.parametrize(
    ("answers", "error", "reason"),
    [
        ({"GREET": "554 go away"}, DependencyUnavailable, "greeting refused: 554"),
        ({"GREET": None}, DependencyUnavailable, "no connection"),
        ({"GREET": ""}, DependencyUnavailable, "time-out"),
        ({"EHLO": "421 busy"}, DependencyUnavailable, "greeting refused: 421"),
        ({"EHLO": None}, DependencyUnavailable, "greeting refused: hangs up"),
        ({"EHLO": "502 what?", "HELO": "502 what?"}, DependencyUnavailable, "greeting refused: 502"),
        ({"MAIL": "550 5.7.1 not you"}, DependencyUnavailable, "refuses the sender: 550 5.7.1"),
        ({"MAIL": None}, DependencyUnavailable, "hangs up"),
        ({"RCPT": "451 4.3.0 queue down"}, DependencyUnavailable, "refuses the address: 451 4.3.0"),
        ({"RCPT": "554 5.7.1 Relay access denied"}, DependencyUnavailable, "refuses the address: 554 5.7.1"),
        ({"RCPT": "421 closing"}, DependencyUnavailable, "refuses the address: 421"),
        ({"MAIL": ""}, DependencyUnavailable, "time-out"),
        ({"RCPT": ""}, TransientError, "does not answer when it is given the address"),
        ({"RCPT": f"450 4.2.0 {ADDRESS}"}, TransientError, "does not take the address now: 450 4.2.0"),
        ({"RCPT": None}, TransientError, "hangs up when it is given the address"),
        ({"RCPT": f"550 {ADDRESS} unknown"}, PermanentError, "refuses the address: 550"),
        ({"DATA": "451 4.3.0 disk"}, DependencyUnavailable, "refuses the letter: 451 4.3.0"),
        ({"DATA": "451 later"}, TransientError, "does not take the letter now: 451"),
        ({"DATA": "554 no"}, PermanentError, "refuses the letter: 554"),
        ({"DATA": None}, TransientError, "hangs up when it is given the letter"),
        ({"DATA": ""}, TransientError, "does not answer when it is given the letter"),
        ({"DOT": "421 4.3.2 shutting down"}, DependencyUnavailable, "refuses the letter: 421 4.3.2"),
        ({"DOT": "452 4.3.1 full"}, DependencyUnavailable, "refuses the letter: 452 4.3.1"),
        ({"DOT": "451 later"}, TransientError, "does not take the letter now: 451"),
        ({"DOT": "552 5.3.4 too big"}, PermanentError, "refuses the letter: 552 5.3.4"),
        ({"DOT": None}, TransientError, "has the letter and hangs up"),
        ({"DOT": ""}, TransientError, "has the letter and has not said within 0.3 s"),
    ],
)  # fmt: skip
async def test_what_fails_and_where_decides_and_the_reason_says_it_without_the_address(
    answers: dict[str, str | None], error: type[Exception], reason: str
) -> None:
    final = 0.3 if answers.get("DOT") == "" else 5
    limit = 0.3 if "" in answers.values() and final == 5 else 5
    async with Scripted(answers).running() as server:
        with pytest.raises(error) as raised:
            await sender(server.port, smtp_timeout=limit, smtp_final_timeout=final).send("pay-1", ADDRESS, LETTER)
    assert reason in str(raised.value)
    assert "customer.example" not in str(raised.value)
    if error is DependencyUnavailable:
        assert f"smtp is unavailable: 127.0.0.1:{server.port}: " in str(raised.value)


async def test_a_server_that_is_not_there_is_named() -> None:
    (port,) = free_ports(1)
    with pytest.raises(DependencyUnavailable, match=f"127.0.0.1:{port}: connection refused; {SETTINGS}"):
        await sender(port).send("pay-1", ADDRESS, LETTER)


@pytest.mark.parametrize("host", ["mail..example", "nowhere.invalid"])
async def test_a_host_that_there_is_not_is_an_outage(host: str) -> None:
    with pytest.raises(DependencyUnavailable, match=f"{host}:25: no (connection|such host); {SETTINGS}"):
        await sender(25, smtp_host=host).send("pay-1", ADDRESS, LETTER)


async def test_a_server_that_looks_through_a_letter_for_long_is_waited_for() -> None:
    async with Scripted(final_delay=1.5).running() as server:
        await sender(server.port, smtp_timeout=1, smtp_final_timeout=10).send("pay-1", ADDRESS, LETTER)
    assert len(server.letters) == 1


async def test_all_steps_together_may_take_longer_than_one() -> None:
    async with Scripted(delay=0.3).running() as server:
        await sender(server.port, smtp_timeout=1.2).send("pay-1", ADDRESS, LETTER)
    assert len(server.letters) == 1


async def test_a_server_that_is_slow_at_every_step_is_an_outage_before_it_has_the_letter() -> None:
    async with Scripted(delay=0.3).running() as server:
        with pytest.raises(DependencyUnavailable, match="time-out"):
            await sender(server.port, smtp_timeout=0.5).send("pay-1", ADDRESS, LETTER)
    assert server.letters == []


@pytest.mark.parametrize("quit", ["", None, "500 what?"])
async def test_a_letter_that_is_taken_is_sent_however_the_server_says_goodbye(quit: str | None) -> None:
    async with Scripted({"QUIT": quit}).running() as server:
        await sender(server.port).send("pay-1", ADDRESS, LETTER)
    assert len(server.letters) == 1


async def test_a_refused_letter_does_not_leave_the_server_waiting() -> None:
    async with Scripted({"RCPT": "550 unknown"}).running() as server:
        with pytest.raises(PermanentError):
            await sender(server.port).send("pay-1", ADDRESS, LETTER)
        await server.has_heard("QUIT")


async def test_an_address_that_the_server_has_no_letters_for_holds_up_nobody_else() -> None:
    async with Scripted().running() as server:
        with pytest.raises(PermanentError, match="SMTPUTF8"):
            await sender(server.port).send("pay-1", "김민수@customer.example", LETTER)
        await sender(server.port).send("pay-2", ADDRESS, LETTER)
    assert len(server.letters) == 1


async def test_an_address_in_another_alphabet_goes_to_a_server_that_takes_it() -> None:
    async with Scripted({"EHLO": "250-here\r\n250 SMTPUTF8"}).running() as server:
        await sender(server.port).send("pay-1", "김민수@customer.example", LETTER)
    assert server.heard[1:3] == ["MAIL FROM:<orders@shop.example> SMTPUTF8", "RCPT TO:<김민수@customer.example>"]
    assert "To: 김민수@customer.example\r\n".encode() in server.letters[0]


async def test_the_machines_own_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def getfqdn() -> str:
        asked.append(None)
        return "worker-1.shop.example"

    monkeypatch.setattr(socket, "getfqdn", getfqdn)
    smtp.own_name.cache_clear()
    try:
        async with Scripted().running() as server:
            for number in range(3):
                await sender(server.port).send(f"pay-{number}", ADDRESS, LETTER)
    finally:
        smtp.own_name.cache_clear()
    assert server.heard.count("EHLO worker-1.shop.example") == 3
    assert len(asked) == 1


@pytest.mark.parametrize("letter_fails", [False, True])
async def test_who_waits_for_a_servers_goodbye_would_have_the_letter_sent_again_if_he_died(letter_fails: bool) -> None:
    answers = {"QUIT": "", **({"DOT": "552 too big"} if letter_fails else {})}
    async with Scripted(answers).running() as server:
        sending = sender(server.port, smtp_timeout=60).send("pay-1", ADDRESS, LETTER)
        await asyncio.wait_for(asyncio.gather(sending, return_exceptions=True), 20)
        await server.has_heard("QUIT")


# -- encryption and logins ---------------------------------------------------------------------------


@dataclass
class Keeper:
    """Keeps of each letter whether it came encrypted, and as whom its sender was logged in."""

    letters: list[tuple[bool, str | None]] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        login = session.auth_data.login.decode() if session.authenticated else None
        encrypted = server.transport.get_extra_info("sslcontext") is not None
        self.letters.append((encrypted, login))
        return "250 taken"


def _who_may_log_in(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
) -> AuthResult:
    return AuthResult(success=data == LoginPassword(b"shop", b"correct"), handled=False, auth_data=data)


@asynccontextmanager
async def secured(keeper: Keeper, immediate: ssl.SSLContext | None = None, **options: object) -> AsyncIterator[int]:
    """Run a mail server; `immediate` encrypts from the first byte on, as on port 465."""
    loop = asyncio.get_running_loop()
    make: Callable[[], SMTP] = lambda: SMTP(  # noqa: E731
        keeper, loop=loop, hostname="localhost", authenticator=_who_may_log_in, **options
    )
    server = await loop.create_server(make, "127.0.0.1", 0, ssl=immediate)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


LOGIN = {"smtp_username": "shop", "smtp_password": "correct"}


async def test_with_starttls_letter_and_password_are_encrypted(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate.trust(monkeypatch)
    keeper = Keeper()
    async with secured(keeper, tls_context=certificate.context(), require_starttls=True) as port:
        await sender(port, smtp_security="starttls", **LOGIN).send("pay-1", ADDRESS, LETTER)
    assert keeper.letters == [(True, "shop")]


async def test_with_tls_all_is_encrypted_from_the_first_byte_on(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate.trust(monkeypatch)
    keeper = Keeper()
    async with secured(keeper, certificate.context(), auth_require_tls=False) as port:
        await sender(port, smtp_security="tls", **LOGIN).send("pay-1", ADDRESS, LETTER)
    assert keeper.letters == [(True, "shop")]


@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_a_certificate_that_nobody_vouches_for_is_not_taken(certificate: Certificate, security: str) -> None:
    keeper = Keeper()
    immediate, later = (certificate.context(), None) if security == "tls" else (None, certificate.context())
    async with secured(keeper, immediate, tls_context=later) as port:
        with pytest.raises(DependencyUnavailable, match=f"127.0.0.1:{port}: TLS failed: its certificate"):
            await sender(port, smtp_security=security).send("pay-1", ADDRESS, LETTER)
    assert keeper.letters == []


async def test_a_server_that_does_not_speak_tls_is_an_outage_that_says_so() -> None:
    async with Scripted().running() as server:
        with pytest.raises(DependencyUnavailable, match="TLS failed"):
            await sender(server.port, smtp_security="tls").send("pay-1", ADDRESS, LETTER)


async def test_without_starttls_on_offer_nothing_is_sent_and_the_setting_is_named() -> None:
    async with Scripted().running() as server:
        with pytest.raises(DependencyUnavailable, match=r"does not offer STARTTLS: set PAYSTREAM_.*__SMTP_SECURITY"):
            await sender(server.port, smtp_security="starttls", **LOGIN).send("pay-1", ADDRESS, LETTER)
        await server.has_heard("QUIT")
    assert [each.split()[0] for each in server.heard] == ["EHLO", "QUIT"]


async def test_starttls_that_is_offered_and_refused_is_an_outage() -> None:
    async with Scripted({"EHLO": "250-here\r\n250 STARTTLS", "STARTTLS": "454 no"}).running() as server:
        with pytest.raises(DependencyUnavailable, match="STARTTLS refused: 454"):
            await sender(server.port, smtp_security="starttls").send("pay-1", ADDRESS, LETTER)


async def test_without_a_login_on_offer_the_settings_are_named() -> None:
    async with Scripted().running() as server:
        with pytest.raises(DependencyUnavailable, match=r"does not offer AUTH .*__SMTP_SECURITY.*__SMTP_USERNAME"):
            await sender(server.port, **LOGIN).send("pay-1", ADDRESS, LETTER)


async def test_a_refused_login_is_an_outage_and_tells_nothing_of_it() -> None:
    keeper = Keeper()
    async with secured(keeper, auth_require_tls=False) as port:
        with pytest.raises(DependencyUnavailable, match=f"127.0.0.1:{port}: login refused: 535") as raised:
            await sender(port, smtp_username="shop", smtp_password="hunter2").send("pay-1", ADDRESS, LETTER)
    assert "hunter2" not in str(raised.value)
    assert keeper.letters == []


async def test_a_login_is_used_where_there_is_one() -> None:
    keeper = Keeper()
    async with secured(keeper, auth_require_tls=False) as port:
        await sender(port, **LOGIN).send("pay-1", ADDRESS, LETTER)
        await sender(port).send("pay-2", ADDRESS, LETTER)
    assert keeper.letters == [(False, "shop"), (False, None)]


async def test_a_mailbox_is_left_at_once_although_somebody_is_still_connected() -> None:
    async with Mailbox() as mailbox:
        reader, writer = await asyncio.open_connection("127.0.0.1", mailbox.port)
        assert (await reader.readline()).startswith(b"220")
        leaving = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - leaving < 20
    writer.close()
