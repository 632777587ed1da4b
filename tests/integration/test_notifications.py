"""Telling customers, with a real mail server, a real receiver of webhooks and real databases."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from support.agent import running, unique
from support.databases import opened
from support.kafka import create_topic, produce, read_topic
from support.payments import Raw
from support.receiver import receiver
from support.requests import REQUEST

from models.cancellation import PaymentCancelled
from models.notification import ADAPTER
from streams.commands.notifications import notifications as command
from streams.commands.notifications import read_customers
from streams.database.engine import Database
from streams.delivery import Outbox, Record, Skip
from streams.delivery.status import State as LaneState
from streams.failure.errors import (
    DependencyUnavailable,
    ExitStatus,
    IdTaken,
    PermanentError,
    RecordError,
    Stage,
    TransientError,
)
from streams.notify.mail import message_id
from streams.notify.mailbox import Mailbox
from streams.notify.notifier import Notifier
from streams.notify.webhook import WebhookDown, sign
from streams.sandbox import Cluster
from streams.sandbox.process import free_ports
from streams.settings import FailureSettings, NotificationSettings, settings
from streams.stores.customer import Channel, Customer
from streams.stores.notifications import (
    LedgerEntry,
    State,
    claim,
    find_customer,
    forget_customer,
    gone_customers,
    ledger_of,
    load_customers,
    record,
    turn_off,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BY_MAIL = Customer("17850", Channel.EMAIL, "one@customer.example", "ko")
BY_WEBHOOK = Customer("17850", Channel.WEBHOOK, "https://customer.example/", "en", SECRET)


@asynccontextmanager
async def notifier(database: Database, port: int = 1, **changes: object) -> AsyncIterator[Notifier]:
    chosen = {"smtp_port": port, "smtp_timeout": 10, "webhook_timeout": 10, "webhook_private": True, **changes}
    made = Notifier(database, NotificationSettings.model_validate(chosen))
    try:
        yield made
    finally:
        await made.close()


async def entry(database: Database) -> LedgerEntry:
    (found,) = await ledger_of(database, REQUEST.request_id)
    return found


async def test_a_letter_arrives_once_in_the_customers_language_and_the_ledger_says_so(database: Database) -> None:
    await load_customers(database, [BY_MAIL])
    async with Mailbox() as mailbox, notifier(database, mailbox.port) as made:
        await made.tell(REQUEST)
        with pytest.raises(Skip, match="already sent"):
            await made.tell(REQUEST)
    (letter,) = mailbox.letters
    assert letter["To"] == "one@customer.example"
    assert "결제가 완료되었습니다" in letter["Subject"]
    assert [part.get_content_type() for part in letter.iter_parts()] == ["text/plain", "text/html"]
    told = await entry(database)
    assert (told.state, told.attempts, told.order_id) == (State.SENT, 1, "536365")


async def test_what_was_claimed_and_never_recorded_is_sent_again_with_the_same_message_id(database: Database) -> None:
    await load_customers(database, [BY_MAIL])
    async with Mailbox() as mailbox, notifier(database, mailbox.port) as made:
        await made.tell(REQUEST)
        await record(database, REQUEST, State.CLAIMED)  # as if it had died before it could say so
        await made.tell(REQUEST)
    assert len(mailbox.letters) == 2
    assert len({letter["Message-ID"] for letter in mailbox.letters}) == 1
    assert (await entry(database)).attempts == 2


CANCELLED = replace(
    REQUEST, request_id="pay-1:cancellation-notification", order_id="C536365", template=PaymentCancelled.template
)


@pytest.mark.parametrize("former", [True, False], ids=["names of before", "names of today"])
async def test_a_payment_and_a_cancellation_of_one_id_are_both_told_each_once(database: Database, former: bool) -> None:
    await load_customers(database, [BY_MAIL])
    requests = [replace(each, request_id="pay-1:notification") if former else each for each in (REQUEST, CANCELLED)]
    async with Mailbox() as mailbox, notifier(database, mailbox.port) as made:
        for each in requests:
            await made.tell(each)
        for each in (*requests, REQUEST, CANCELLED):
            with pytest.raises(Skip, match="already sent"):
                await made.tell(each)
    assert len(mailbox.letters) == 2
    assert len({letter["Message-ID"] for letter in mailbox.letters}) == 2


@pytest.mark.parametrize("sent", [True, False])
async def test_something_else_under_an_id_that_is_taken_is_not_told_and_says_where_the_first_is(
    database: Database, sent: bool
) -> None:
    await load_customers(database, [BY_MAIL])
    async with Mailbox() as mailbox, notifier(database, mailbox.port) as made:
        await made.tell(REQUEST, "notification.requests-1@17")
        if not sent:
            await record(database, REQUEST, State.CLAIMED)
        before = await entry(database)
        with pytest.raises(IdTaken, match=r"the record at notification.requests-1@17 has the same id") as raised:
            await made.tell(replace(REQUEST, order_id="536366"), "notification.requests-2@5")
        assert raised.value.stage is Stage.VALIDATE
    assert len(mailbox.letters) == 1
    assert await entry(database) == before


async def _as_before(database: Database, order_id: str, state: State) -> None:
    """Leave what schema 0005 had of a request."""
    async with database.transaction() as connection:
        row = "('pay-1:notification', :order_id, 'email', :state, 1, 1300000000, NULL)"
        columns = "request_id, order_id, channel, state, attempts, claimed_at, sent_at"
        await connection.execute(
            text(f"INSERT INTO notifications ({columns}) VALUES {row}"), {"order_id": order_id, "state": state.value}
        )


@pytest.mark.parametrize("former", [True, False], ids=["a record of before", "a record of today"])
@pytest.mark.parametrize("state", [State.SENT, State.CLAIMED])
async def test_what_was_told_before_the_upgrade_is_recognised_and_what_was_not_is_sent_again(
    database: Database, state: State, former: bool
) -> None:
    await load_customers(database, [BY_MAIL])
    await _as_before(database, REQUEST.order_id, state)
    request = replace(REQUEST, request_id="pay-1:notification") if former else REQUEST
    async with Mailbox() as mailbox, notifier(database, mailbox.port) as made:
        with pytest.raises(Skip, match="already sent") if state is State.SENT else nullcontext():
            await made.tell(request)
        assert (await entry(database)).attempts == (1 if state is State.SENT else 2)
        with pytest.raises(IdTaken):
            await made.tell(replace(request, order_id="536366"))
    expected = [] if state is State.SENT else [message_id(NotificationSettings().sender, REQUEST.request_id)]
    assert [letter["Message-ID"] for letter in mailbox.letters] == expected


async def test_a_cancellation_is_told_although_a_payment_of_its_id_was_before_the_upgrade(database: Database) -> None:
    await load_customers(database, [BY_MAIL])
    await _as_before(database, REQUEST.order_id, State.SENT)
    async with Mailbox() as mailbox, notifier(database, mailbox.port) as made:
        await made.tell(CANCELLED)
        for each in (CANCELLED, REQUEST):
            with pytest.raises(Skip, match="already sent"):
                await made.tell(each)
    assert len(mailbox.letters) == 1


@pytest.mark.parametrize(
    ("customer", "customer_id", "reason"),
    [
        (BY_MAIL, None, "guest"),
        (BY_MAIL, "999", "unknown customer"),
        (replace(BY_MAIL, channel=Channel.NONE, address=""), "17850", "opted out"),
    ],
)
async def test_who_cannot_or_does_not_wish_to_be_told_is_skipped_for_a_reason(
    database: Database, customer: Customer, customer_id: str | None, reason: str
) -> None:
    await load_customers(database, [customer])
    async with notifier(database) as made:
        with pytest.raises(Skip) as skip:
            await made.tell(replace(REQUEST, customer_id=customer_id))
    assert skip.value.reason == reason
    assert await ledger_of(database, REQUEST.request_id) == []


@pytest.mark.parametrize(
    ("answer", "error", "state"),
    [
        ("450 later", TransientError, State.CLAIMED),
        ("550 no such user", PermanentError, State.REFUSED),
    ],
)
async def test_what_a_mail_server_says_of_an_address_decides(
    database: Database, answer: str, error: type[Exception], state: State
) -> None:
    await load_customers(database, [BY_MAIL])
    async with Mailbox(answer=lambda address: answer) as mailbox, notifier(database, mailbox.port) as made:
        with pytest.raises(error) as raised:
            await made.tell(REQUEST)
        assert "customer.example" not in str(raised.value)
        assert (await entry(database)).state is state
        mailbox.answer = lambda address: None
        await made.tell(REQUEST)
    assert len(mailbox.letters) == 1


async def test_a_mail_server_that_is_not_there_is_an_outage(database: Database) -> None:
    await load_customers(database, [BY_MAIL])
    async with notifier(database, free_ports(1)[0]) as made:
        with pytest.raises(DependencyUnavailable, match="smtp is unavailable"):
            await made.tell(REQUEST)


async def test_a_mail_server_that_never_answers_is_an_outage(database: Database) -> None:
    await load_customers(database, [BY_MAIL])

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        closed.set()

    closed = asyncio.Event()
    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with notifier(database, port, smtp_timeout=0.2) as made:
        with pytest.raises(DependencyUnavailable):
            await made.tell(REQUEST)
    await closed.wait()
    silent.close()
    await silent.wait_closed()


async def test_a_webhook_is_signed_and_a_repeat_has_the_same_id(database: Database) -> None:
    async with receiver() as hook, notifier(database) as made:
        await load_customers(database, [Customer("17850", Channel.WEBHOOK, hook.url, "en", SECRET)])
        await made.tell(REQUEST)
        await record(database, REQUEST, State.CLAIMED)
        await made.tell(REQUEST)
    first, again = hook.posts
    assert first.headers["webhook-id"] == again.headers["webhook-id"] == REQUEST.request_id
    assert first.headers["webhook-signature"] == sign(
        SECRET, REQUEST.request_id, int(first.headers["webhook-timestamp"]), first.body
    )
    body = json.loads(first.body)
    assert (body["type"], body["data"]["amount"]) == ("payment-completed", "1139.12")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, WebhookDown), (503, WebhookDown), (0, WebhookDown), (403, PermanentError), (302, PermanentError),
    ],
)  # fmt: skip
async def test_what_a_webhooks_receiver_answers_decides(
    database: Database, status: int, error: type[RecordError]
) -> None:
    async with receiver(status) as hook, notifier(database, webhook_timeout=10 if status else 0.5) as made:
        await load_customers(database, [replace(BY_WEBHOOK, address=hook.url)])
        with pytest.raises(error) as raised:
            await made.tell(REQUEST)
    assert len(hook.posts) == 1
    whose = "host 127.0.0.1" if error is WebhookDown else "customer 17850"
    assert raised.value.culprit == whose, "no partition is to halt over it"


async def test_a_webhook_that_is_gone_is_not_asked_again_until_it_is_loaded_again(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiver(410, 410, 200) as hook, notifier(database) as made:
        customer = replace(BY_WEBHOOK, address=hook.url)
        await load_customers(database, [customer])
        for number in range(4):
            with pytest.raises(Skip, match=r"^gone$"):
                await made.tell(replace(REQUEST, request_id=f"r{number}"))
        assert len(hook.posts) == 1
        states = [entry.state for entry in await ledger_of(database, REQUEST.order_id)]
        assert states == [State.GONE], "what was not asked is not in the ledger"
        (said,) = [line.getMessage() for line in caplog.records if line.name == "streams.notify.notifier"]
        assert said.startswith("webhook 127.0.0.1 answered 410: it is gone for good: the channel of the customer of ")
        assert [name for name, _ in await gone_customers(database)] == ["17850"]
        await load_customers(database, [customer])
        assert await gone_customers(database) == []
        with pytest.raises(Skip, match=r"^gone$"):
            await made.tell(replace(REQUEST, request_id="r5"))
        await load_customers(database, [customer])
        await made.tell(replace(REQUEST, request_id="r6"))
    assert len(hook.posts) == 3


async def test_a_webhook_that_was_loaded_while_the_former_said_that_it_was_gone_stays_on(database: Database) -> None:
    former = replace(BY_WEBHOOK, address="https://former.example/")
    await load_customers(database, [BY_WEBHOOK])
    assert not await turn_off(database, former)
    assert await gone_customers(database) == []
    assert await turn_off(database, BY_WEBHOOK)
    assert not await turn_off(database, BY_WEBHOOK), "it is no news the second time"


async def test_a_hundred_refusals_of_one_customer_halt_nobody_and_the_others_are_told(
    kafka: Cluster, database: Database
) -> None:
    servers, topic = kafka.bootstrap_servers, unique("requests")
    for name in (topic, topic + ".DLT"):
        await create_topic(servers, name, 1)
    requests = [
        replace(REQUEST, request_id=f"r{number}", customer_id="2" if number % 10 else "1") for number in range(60)
    ]
    values = [ADAPTER.dump_json(each, by_alias=True) for each in requests]
    await produce(servers, topic, [Raw(0, b"%d" % number, value) for number, value in enumerate(values)])
    async with receiver(*[403] * 54) as hook, Mailbox() as mailbox, notifier(database, mailbox.port) as made:
        await load_customers(
            database, [replace(BY_WEBHOOK, customer_id="2", address=hook.url), replace(BY_MAIL, customer_id="1")]
        )

        async def tell(record: Record, out: Outbox) -> None:
            await made.tell(record.parse_as(ADAPTER))

        strict = FailureSettings(max_consecutive_dead_letters=5, max_dead_letter_share=0.2, dead_letter_window=20)
        async with running(servers, [topic], tell, failure=strict) as agent:
            await agent.consumed()
            assert agent.lane(0).state is not LaneState.HALTED
    assert (len(mailbox.letters), len(hook.posts)) == (6, 54)
    assert len(await read_topic(servers, topic + ".DLT")) == 54


async def test_a_former_owner_that_wakes_up_does_not_take_back_that_it_was_sent(database: Database) -> None:
    await claim(database, REQUEST, Channel.EMAIL)
    await record(database, REQUEST, State.SENT)
    sent = await entry(database)
    await record(database, REQUEST, State.REFUSED)
    assert await entry(database) == sent
    assert sent.sent_at is not None
    assert await claim(database, REQUEST, Channel.EMAIL) == 0


async def test_a_webhook_that_stays_away_is_a_dead_letter_at_once_while_others_are_told(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.notify.down_hosts._SECONDS", 0.0)
    async with receiver(*(503,) * 3) as hook, Mailbox() as mailbox, notifier(database, mailbox.port) as made:
        await load_customers(
            database, [Customer("1", Channel.WEBHOOK, hook.url, "en", SECRET), replace(BY_MAIL, customer_id="2")]
        )
        for number in range(3):
            with pytest.raises(TransientError):
                await made.tell(replace(REQUEST, request_id=f"r{number}", customer_id="1"))
        late = replace(REQUEST, request_id="late", customer_id="1")
        with pytest.raises(PermanentError, match=r"webhook 127\.0\.0\.1 has been down since"):
            await made.tell(late)
        await made.tell(replace(REQUEST, customer_id="2"))
        monkeypatch.setattr("streams.notify.down_hosts._TRY_EVERY", 0.0)
        await made.tell(late)
    assert (len(hook.posts), len(mailbox.letters)) == (4, 1)


async def test_two_that_claim_at_once_count_as_two_attempts(database: Database) -> None:
    attempts = await asyncio.gather(*(claim(database, REQUEST, Channel.EMAIL) for _ in range(5)))
    assert sorted(attempts) == [1, 2, 3, 4, 5]


async def test_a_customer_who_is_forgotten_leaves_nothing_personal_behind(database: Database) -> None:
    await load_customers(database, [BY_MAIL])
    assert await forget_customer(database, "17850")
    assert await find_customer(database, "17850") is None
    assert not await forget_customer(database, "17850")


# -- the command -------------------------------------------------------------------------------------


def run(url: str, *arguments: str | Path) -> Result:
    settings.cache_clear()
    environment = {"PAYSTREAM_DATABASE__URL": url, "COLUMNS": "140"}
    return CliRunner().invoke(command, [str(each) for each in arguments], env=environment)


def test_customers_are_loaded_and_forgotten(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "customers.csv"
    made = run(database_url, "secret").output.strip()
    file.write_text(
        "customer_id,channel,address,locale,secret\n"
        "1,email,one@customer.example,ko,\n"
        f"2,webhook,https://customer.example/hook,en_GB,{made}\n"
        " 3 ,none,three@customer.example,,\n"
    )
    assert "3 customers stored" in run(database_url, "load", file).output

    assert _stored(database_url, "1").address == "one@customer.example"
    assert _stored(database_url, "3") == Customer("3", Channel.NONE, "", ""), "who opts out leaves nothing personal"
    assert run(database_url, "forget", "1").exit_code == 0
    assert run(database_url, "forget", "1").exit_code == ExitStatus.FAILED


def _stored(url: str, customer_id: str) -> Customer:
    async def find() -> Customer | None:
        async with opened(url) as database:
            return await find_customer(database, customer_id)

    found = asyncio.run(find())
    assert found is not None
    return found


def test_requests_are_found_by_the_name_that_they_had_before(database_url: str) -> None:
    async def tell() -> None:
        async with opened(database_url) as database:
            for name in (
                "7:order-notification",
                "7:cancellation-notification",
                "7:8:order-notification",
                "7%:order-notification",
            ):
                await claim(database, replace(REQUEST, request_id=name), Channel.EMAIL)

    asyncio.run(tell())
    shown = run(database_url, "show", "7:notification").output
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("request:")] == [
        "7:cancellation-notification", "7:order-notification",
    ]  # fmt: skip
    assert "7:order-notification" in run(database_url, "show", "7:order-notification").output
    assert run(database_url, "show", "8:notification").exit_code == ExitStatus.FAILED


def test_the_ledger_is_shown_in_lines_of_80_columns_and_the_state_comes_first(database_url: str) -> None:
    states = {
        "pay-7:order-notification": State.CLAIMED,
        "pay-8:order-notification": State.SENT,
        "pay-9 [x]": State.REFUSED,
    }

    async def tell() -> None:
        async with opened(database_url) as database:
            for request_id, state in states.items():
                request = replace(REQUEST, request_id=request_id, order_id="7")
                await claim(database, request, Channel.EMAIL)
                await record(database, request, state)

    asyncio.run(tell())
    shown = run(database_url, "show", "7").output
    entries = shown.split("\n\n")
    assert [entry.split()[:2] for entry in entries] == [["state:", state.value] for state in states.values()]
    assert all(f"request:  {request_id}\n" in shown for request_id in states), "nothing is cut or taken for markup"
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "dead-letters list" in entries[0]
    assert "sent:     -" in entries[0]
    assert "sent:     20" in entries[1]
    assert run(database_url, "show", "8").exit_code == ExitStatus.FAILED


def test_a_mailbox_on_a_port_that_is_taken_says_so_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("sqlite:///paystream.db", "mailbox", "--port", str(port))
    assert done.exit_code == ExitStatus.CONFIGURATION
    assert done.output.startswith(f"paystream: cannot listen on 127.0.0.1:{port} (Address already in use): ")
    assert "--port" in done.output
    assert done.output.count("\n") == 1


@pytest.mark.parametrize("name", ["load", "show", "forget"])
def test_the_help_of_a_command_has_an_example(name: str) -> None:
    shown = CliRunner().invoke(command, [name, "--help"])
    assert f"  paystream notifications {name} " in shown.stdout


def test_what_the_database_refuses_is_told_in_one_line_without_anything_personal(
    database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "customers.csv"
    file.write_text(
        "customer_id,channel,address,locale,secret\n1,email,one@customer.example,ko,\n2,email,one@customer.example,ko,\n"
    )

    async def forbid() -> None:
        async with opened(database_url) as database, database.transaction() as connection:
            await connection.execute(text("CREATE UNIQUE INDEX one_each ON customers (address)"))

    asyncio.run(forbid())
    result = run(database_url, "load", file)
    assert result.exit_code == ExitStatus.FAILED
    assert isinstance(result.exception, SystemExit), "it is not a traceback"
    assert len(result.output.splitlines()) == 1
    assert "refuses it" in result.output
    assert "customer.example" not in result.output


async def test_an_error_of_the_database_does_not_quote_what_it_was_given(database: Database) -> None:
    with pytest.raises(SQLAlchemyError) as raised:
        async with database.transaction() as connection:
            await connection.execute(text("INSERT INTO nowhere VALUES (:address)"), {"address": BY_MAIL.address})
    assert "customer.example" not in str(raised.value)


def test_webhooks_without_tls_are_loaded_only_where_they_are_allowed(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "customers.csv"
    file.write_text(f"customer_id,channel,address,locale,secret\n1,webhook,http://127.0.0.1:8080/,en,{SECRET}\n")
    refused = run(database_url, "load", file)
    assert refused.exit_code == ExitStatus.BAD_INPUT
    assert f"{file}:2: column 'address': expected a URL that begins with https://" in refused.output
    monkeypatch.setenv("PAYSTREAM_NOTIFICATIONS__WEBHOOK_PRIVATE", "true")
    assert run(database_url, "load", file).exit_code == 0


@pytest.mark.parametrize("address", ["o'brien+shop@mail.customer.example", "a.b@localhost", f"{'a' * 64}@b.example"])
def test_addresses_that_exist_are_taken(tmp_path: Path, address: str) -> None:
    file = tmp_path / "customers.csv"
    file.write_text(f"customer_id,channel,address,locale,secret\n1,email,{address},en,\n")
    assert read_customers(file) == [Customer("1", Channel.EMAIL, address, "en")]


@pytest.mark.parametrize(
    ("address", "stored"),
    [
        ("a@b\u00fccher.example", "a@xn--bcher-kva.example"),
        ("\u00fc@B\u00dcCHER.example", "\u00fc@xn--bcher-kva.example"),
        ("a@\uc0c1\uc810.example", "a@xn--hg4bs7k.example"),
    ],
)
def test_a_domain_of_another_alphabet_is_stored_as_the_domain_name_system_has_it(
    tmp_path: Path, address: str, stored: str
) -> None:
    file = tmp_path / "customers.csv"
    file.write_text(f"customer_id,channel,address,locale,secret\n1,email,{address},en,\n", encoding="utf-8")
    assert read_customers(file) == [Customer("1", Channel.EMAIL, stored, "en")]


def test_a_row_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "customers.csv"
    rows = [f"{number},none,,,\n".encode() for number in range(5_000)]
    rows[4_000] = b"4000,email,priv\xe4te@b.example,en,\n"
    file.write_bytes(b"customer_id,channel,address,locale,secret\n" + b"".join(rows))
    result = run("sqlite:///nowhere/at/all.db", "load", file)
    assert result.exit_code == ExitStatus.BAD_INPUT
    assert f"{file}:4002: not UTF-8: byte 16 of the line is 0xe4" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("row", "place"),
    [
        (",email,a@b.example,en,", "'customer_id'"),
        ("1,letter,a@b.example,en,", "'channel'"),
        ("1,email,private words,en,", "'address'"),
        ("1,email,a@b.example\r,en,", "3 columns"),
        ("1,webhook,customer.example,en,whsec_x", "'address'"),
        ("1,webhook,https://customer.example/private,en,short", "'secret'"),
        ("1,webhook,https://[private,en," + SECRET, "'address'"),
        ("1,webhook,https://:443/private,en," + SECRET, "'address'"),
        ("1,webhook,http://private.example/,en," + SECRET, "'address'"),
        ("1,webhook,https://127.1/private,en," + SECRET, "'address'"),
        ("1,webhook,https://customer.example/private,en,whsec_" + "AAAA" * 7, "'secret'"),
        ("1,webhook,https://customer.example/private,en,whsec_" + "AAAA" * 22, "'secret'"),
        ("1,email,=?utf-8?q?private?=@b.example,en,", "'address'"),
        ("1,email," + "\u00ed" * 33 + "private@b.example,en,", "'address'"),
        ("1,email,private@b\u00fccher..example,en,", "'address'"),
        ("1,email,private@\u2065.example,en,", "'address'"),
        ('1,none,,,\n\n2,none,"private\n,,,\n3,none,,,', ":4: no CSV: a quote is not closed"),
        ("1,email,private(x)@b.example,en,", "'address'"),
        ("1,email,[private@b.example,en,", "'address'"),
        ("1,email,private..x@b.example,en,", "'address'"),
        ("1,email,private@b..example,en,", "'address'"),
        ("1,email,.private@b.example,en,", "'address'"),
        ("1,email,private@-b.example,en,", "'address'"),
        (f"1,email,{'private' * 10}@b.example,en,", "'address'"),
        ("  ,email,a@b.example,en,", "'customer_id'"),
        ("1,none,,,\n 1,none,,,", "was there before"),
        ("1,email,a@b.example,klingon,", "'locale'"),
        ("1,email,a@b.example", "3 columns"),
        ("1,none,,,\n1,none,,,", "was there before"),
    ],
)
def test_a_file_of_customers_that_is_wrong_is_refused_with_the_place_and_without_quoting(
    tmp_path: Path, row: str, place: str
) -> None:
    file = tmp_path / "customers.csv"
    file.write_bytes(f"customer_id,channel,address,locale,secret\n{row}\n".encode())
    result = run("sqlite:///nowhere/at/all.db", "load", file)
    assert result.exit_code == ExitStatus.BAD_INPUT, result.output
    assert place in result.output
    assert "private" not in result.output
