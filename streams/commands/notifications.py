"""``paystream notifications``: whom to tell how, and what they have been told."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
from datetime import datetime, timezone
from email.message import EmailMessage
from pathlib import Path
from typing import Final

import click
from babel.core import Locale, UnknownLocaleError

from streams.commands.command import asynchronous, extra
from streams.commands.csv_rows import csv_rows
from streams.commands.database import open_database
from streams.dead_letters.text import printable
from streams.failure.errors import InputError, PaystreamError, SetupError
from streams.failure.policy import one_line
from streams.notify.webhook import SECRET_PREFIX, key_of
from streams.notify.webhook_url import UnfitUrl, parse_url
from streams.settings import settings
from streams.settings.notifications import domain_in_ascii, is_address
from streams.stores.customer import Channel, Customer
from streams.stores.notifications import LedgerEntry, State, forget_customer, gone_customers, ledger_of, load_customers

_HEADER: Final = ["customer_id", "channel", "address", "locale", "secret"]
_LONGEST_ID: Final = 128
# RFC 5321, sections 4.5.3.1.1 and 4.5.3.1.3, in bytes; the latter with the angle brackets.
_LONGEST_EMAIL: Final = 254
_LONGEST_LOCAL_PART: Final = 64
_SECRET_BYTES: Final = 32


@click.group()
def notifications() -> None:
    """See what customers have been told, and say how they want to be told.

    \b
        paystream notifications load customers.csv
        paystream notifications show 536365
        paystream notifications mailbox
    """


@notifications.command()
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@asynchronous
async def load(file: Path) -> None:
    """Store how the customers in FILE want to be told; those who are known already are changed.

    A CSV with the columns customer_id, channel, address, locale and secret. The channel is email, webhook or
    none; the address an e-mail address or a URL; the locale a language that letters are written in, such as ko or
    en_GB. A webhook is signed with its secret, which 'paystream notifications secret' makes; others have none.
    Of those who do not wish to be told, nothing but that is stored.

    Customers who are not loaded are not told anything, and counted.

    \b
    Example:
      paystream notifications load examples/customers.csv
    """
    customers = read_customers(file, private=settings().notifications.webhook_private)
    async with open_database() as database:
        click.echo(f"{await load_customers(database, customers):,} customers stored")


@notifications.command()
@click.argument("customer_id")
@asynchronous
async def forget(customer_id: str) -> None:
    """Delete address and wishes of a customer, who is told nothing any more.

    \b
    Example:
      paystream notifications forget 17850
    """
    async with open_database() as database:
        if not await forget_customer(database, customer_id):
            raise PaystreamError(f"there is no customer {customer_id}")
    click.echo(f"customer {customer_id} is forgotten")


@notifications.command()
@asynchronous
async def gone() -> None:
    """List the customers whose webhook has answered that it is gone for good (410), and since when.

    They are told nothing until 'paystream notifications load' stores how they want to be told from now on; loaded
    as they were, they are asked once more.

    \b
    Example:
      paystream notifications gone
    """
    async with open_database() as database:
        found = await gone_customers(database)
    for customer_id, since in found:
        click.echo(f"{_time(since)}  {customer_id}")
    if not found:
        click.echo("no customer's webhook is gone", err=True)


@notifications.command()
def secret() -> None:
    """Make a secret for a customer's webhooks, to be given to the customer and loaded here."""
    click.echo(SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode())


@notifications.command()
@click.argument("name", metavar="ORDER|REQUEST")
@asynchronous
async def show(name: str) -> None:
    """Show what the ledger says of an order's notifications, or of one request.

    "claimed" means that it was about to be sent, and that nobody recorded what came of it: it may have arrived. It
    is being sent, tried again, or a dead letter; 'paystream dead-letters list' shows those. A worker that died
    meanwhile sends it again when it is back, with the same id.

    \b
    Examples:
      paystream notifications show 536365
      paystream notifications show pay-536365:order-notification
    """
    async with open_database() as database:
        entries = await ledger_of(database, name)
    if not entries:
        raise PaystreamError(
            f"the ledger has nothing of {name}: not requested yet, or skipped (a guest, an unknown customer, opted out)"
        )
    click.echo("\n\n".join(_described(each) for each in entries))


@notifications.command()
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Where to listen; PAYSTREAM_NOTIFICATIONS__SMTP_PORT if not given."
)
@asynchronous
async def mailbox(port: int | None) -> None:
    """Run a mail server on 127.0.0.1 that shows the letters it gets and sends none of them on.

    It is where letters go as long as no other mail server is set. Ends with Ctrl-C.
    """
    with extra("sandbox"):
        from streams.notify.mailbox import Mailbox
    chosen = port or settings().notifications.smtp_port
    try:
        async with Mailbox(chosen, on_letter=_print_letter):
            click.echo(f"listening on 127.0.0.1:{chosen} until Ctrl-C", err=True)
            await asyncio.Event().wait()
    except OSError as error:
        raise SetupError(
            f"cannot listen on 127.0.0.1:{chosen} ({os.strerror(error.errno) if error.errno else error}): another "
            "mailbox may run here; give this one a port of its own with --port"
        ) from error


def _print_letter(letter: EmailMessage) -> None:
    body = letter.get_body(("plain",))
    text = body.get_content() if body is not None else ""
    shown = f"── to {letter['To']}: {letter['Subject']}  {letter['Message-ID']}\n{text}"
    click.echo(printable(shown, newlines=True))


_MEANING: Final = {
    State.CLAIMED: "claimed\n          being sent, tried again, or a dead letter:\n"
    "          see 'paystream dead-letters list'",
    State.SENT: "sent",
    State.GONE: "gone\n          its webhook is gone for good (410), and its customer's channel is off:\n"
    "          see 'paystream notifications gone'",
    State.REFUSED: "refused\n          a dead letter: see 'paystream dead-letters list'",
}


def _described(entry: LedgerEntry) -> str:
    # Lines and not columns: an id that has been cut is none.
    facts = {
        "state": _MEANING[entry.state],
        "request": one_line(entry.request_id),
        "order": one_line(entry.order_id),
        "channel": entry.channel,
        "attempts": str(entry.attempts),
        "claimed": _time(entry.claimed_at),
        "sent": "-" if entry.sent_at is None else _time(entry.sent_at),
    }
    return "\n".join(f"{name + ':':<10}{value}" for name, value in facts.items())


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")


def read_customers(file: Path, *, private: bool = False) -> list[Customer]:
    """Read customers' wishes.

    Arguments:
        file: the CSV.
        private: whether webhooks may do without TLS, and lead to addresses that are not public.

    Raises:
        InputError: something is wrong in the file; it names the place, and does not quote what is there.
    """
    found: dict[str, Customer] = {}
    for line, row in csv_rows(file, _HEADER):
        customer = _read_row(file, line, row, private)
        if customer.customer_id in found:
            raise InputError(file, "was there before", line=line, column="customer_id")
        found[customer.customer_id] = customer
    return list(found.values())


def _read_row(file: Path, line: int, row: list[str], private: bool) -> Customer:
    def wrong(column: str, reason: str) -> InputError:
        return InputError(file, reason, line=line, column=column)

    if len(row) != len(_HEADER):
        raise InputError(file, f"{len(row)} columns where there should be {len(_HEADER)}", line=line)
    name, channel, address, locale, key = row
    customer_id = name.strip()
    if not 0 < len(customer_id) <= _LONGEST_ID or not customer_id.isprintable():
        raise wrong("customer_id", f"expected 1 to {_LONGEST_ID} printable characters")
    if channel not in {each.value for each in Channel}:
        raise wrong("channel", f"expected one of {', '.join(each.value for each in Channel)}")
    chosen = Channel(channel)
    if chosen is Channel.NONE:
        return Customer(customer_id, chosen, "", "")
    if chosen is Channel.EMAIL:
        # As a mail server without SMTPUTF8 takes it, too.
        address = domain_in_ascii(address)
    if chosen is Channel.EMAIL and not _is_email(address):
        raise wrong("address", "expected an e-mail address")
    if chosen is Channel.WEBHOOK:
        try:
            parse_url(address, private=private)
        except UnfitUrl as unfit:
            raise wrong("address", f"expected {unfit}") from None
    if not _is_locale(locale):
        raise wrong("locale", "expected a language such as ko or en_GB")
    if chosen is Channel.WEBHOOK and not _is_secret(key):
        raise wrong("secret", "expected a secret as 'paystream notifications secret' makes them")
    return Customer(customer_id, chosen, address, locale, key if chosen is Channel.WEBHOOK else "")


def _is_email(text: str) -> bool:
    if not is_address(text):
        return False
    local_part = text.partition("@")[0]
    return len(text.encode()) <= _LONGEST_EMAIL and len(local_part.encode()) <= _LONGEST_LOCAL_PART


def _is_locale(name: str) -> bool:
    try:
        Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError, TypeError):
        return False
    return len(name) <= 16


def _is_secret(text: str) -> bool:
    try:
        key_of(text)
    except ValueError:
        return False
    return True
