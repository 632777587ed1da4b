"""Customers' wishes, and the ledger of what they were told."""

from __future__ import annotations

import enum
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from models.identity import differ, former_id
from models.notification import OUTPUT, NotificationRequest
from streams.database.engine import Database
from streams.database.notification_tables import customers, notifications
from streams.database.statements import packed, with_rows
from streams.failure.errors import IdTaken
from streams.stores.customer import Channel, Customer
from streams.stores.known import CLOCKS_APART

# What a later version has made of the same contents cannot be compared, and says nothing: models.identity.differ.
_CLAIM: Final = (
    "INSERT INTO notifications (request_id, order_id, channel, state, attempts, claimed_at, digest, place) "
    "SELECT request_id, order_id, channel, 'claimed', 1, claimed_at, digest, place FROM ({rows}) AS claims WHERE true "
    "ON CONFLICT (request_id) DO UPDATE SET state = 'claimed', channel = excluded.channel, "
    "attempts = notifications.attempts + 1, claimed_at = excluded.claimed_at, "
    "digest = coalesce(notifications.digest, excluded.digest), place = coalesce(notifications.place, excluded.place) "
    "WHERE notifications.state <> 'sent' AND (notifications.digest IS NULL OR notifications.digest = excluded.digest "
    "OR substr(notifications.digest, 1, 2) <> substr(excluded.digest, 1, 2)) RETURNING attempts"
)
# A row of before schema 0006 has the order, but not of which event it was.
_TAKE_FORMER: Final = (
    "UPDATE notifications SET request_id = new.name, digest = new.digest, place = new.place FROM ({rows}) AS new "
    "WHERE notifications.request_id = new.former AND notifications.digest IS NULL "
    "AND notifications.order_id = new.order_id AND notifications.claimed_at >= new.happened "
    "AND NOT EXISTS (SELECT 1 FROM notifications AS mine WHERE mine.request_id = new.name)"
)
_LOAD: Final = (
    "INSERT INTO customers (customer_id, channel, address, locale, secret) {rows} "
    "ON CONFLICT (customer_id) DO UPDATE SET channel = excluded.channel, address = excluded.address, "
    "locale = excluded.locale, secret = excluded.secret, gone_at = NULL"
)


class State(str, enum.Enum):
    """How far a notification has come."""

    CLAIMED = "claimed"
    """It is being sent, tried again, or a dead letter after its last attempt: nobody knows whether it arrived."""
    SENT = "sent"
    REFUSED = "refused"
    """Its receiver will never take it, or has been down for a while; it is a dead letter."""
    GONE = "gone"
    """Its receiver says that it is gone for good (410): the customer's channel is off, and it was skipped."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What the ledger says of a notification. Times are seconds since 1970."""

    request_id: str
    order_id: str
    channel: str
    state: State
    attempts: int
    claimed_at: int
    sent_at: int | None


async def find_customer(database: Database, customer_id: str) -> Customer | None:
    """Look a customer's wishes up.

    Raises:
        DependencyUnavailable: the database is down.
    """
    async with database.reading() as connection:
        found = await connection.execute(select(customers).where(customers.c.customer_id == customer_id))
        row = found.one_or_none()
    if row is None:
        return None
    gone = row.gone_at is not None
    return Customer(row.customer_id, Channel(row.channel), row.address, row.locale, row.secret, gone)


async def claim(database: Database, request: NotificationRequest, channel: Channel, place: str | None = None) -> int:
    """Note that a notification is about to be sent, before it is; return the number of the attempt.

    0 says that it has been sent, and must not be again.

    Arguments:
        database: where the ledger is.
        request: what is to be told.
        channel: how.
        place: where the request was read, as ``topic-partition@offset``.

    Raises:
        IdTaken: something else was told, or tried, under the same id.
        DependencyUnavailable: the database is down.
    """
    name, digest = request.identity, request.digest()
    row = (name, request.order_id, channel.value, int(time.time()), digest, place)
    texts = dict.fromkeys(("digest", "place"), str)
    async with database.transaction() as connection:
        await _take_former(connection, request, place)
        statement = with_rows(connection, _CLAIM, request_id=str, order_id=str, channel=str, claimed_at=int, **texts)
        attempts = (await connection.execute(statement, packed([row]))).scalar_one_or_none()
        if attempts is not None:
            return int(attempts)
        of_name = notifications.c.request_id == name
        there = (await connection.execute(select(notifications).where(of_name))).one_or_none()
    if there is not None and there.digest is not None and differ(there.digest, digest):
        raise IdTaken(there.place)
    return 0


async def _take_former(connection: AsyncConnection, request: NotificationRequest, place: str | None) -> None:
    """Make the request's a row of before schema 0006 that may be its: of the same order, and made after the event."""
    if request.former is None:
        return
    happened = int(request.occurred_at.timestamp()) - CLOCKS_APART
    row = (request.former, request.identity, request.order_id, happened, request.digest(), place)
    texts = dict.fromkeys(("digest", "place"), str)
    statement = with_rows(connection, _TAKE_FORMER, former=str, name=str, order_id=str, happened=int, **texts)
    await connection.execute(statement, packed([row]))


async def record(database: Database, request: NotificationRequest, state: State) -> None:
    """Note what became of it.

    What was sent is not refused afterwards, whatever a former owner of the partition, who was slower, has been told.

    Raises:
        DependencyUnavailable: the database is down.
    """
    sent_at = int(time.time()) if state is State.SENT else None
    changed = update(notifications).where(notifications.c.request_id == request.identity)
    if state in (State.REFUSED, State.GONE):
        changed = changed.where(notifications.c.state != State.SENT.value)
    async with database.transaction() as connection:
        await connection.execute(changed.values(state=state.value, sent_at=sent_at))


async def turn_off(database: Database, customer: Customer) -> bool:
    """Note that a customer's webhook is gone, unless another one has been loaded meanwhile; say whether that is news.

    Raises:
        DependencyUnavailable: the database is down.
    """
    same = (customers.c.customer_id == customer.customer_id, customers.c.address == customer.address)
    changed = update(customers).where(*same, customers.c.gone_at.is_(None)).values(gone_at=int(time.time()))
    async with database.transaction() as connection:
        return bool((await connection.execute(changed)).rowcount)


async def gone_customers(database: Database) -> list[tuple[str, int]]:
    """Return the customers whose webhook is gone, and since when: seconds since 1970.

    Raises:
        DependencyUnavailable: the database is down.
    """
    columns = customers.c
    query = select(columns.customer_id, columns.gone_at).where(columns.gone_at.is_not(None))
    async with database.reading() as connection:
        rows = await connection.execute(query.order_by(columns.gone_at, columns.customer_id))
        return [(row.customer_id, row.gone_at) for row in rows]


async def ledger_of(database: Database, name: str) -> list[LedgerEntry]:
    """Return what the ledger says of a request, or of all requests of an order.

    A request may be named as before schema 0006, too, without what the event was: that finds those of all kinds.

    Raises:
        DependencyUnavailable: the database is down.
    """
    columns = notifications.c
    chosen = [columns.request_id == name, columns.order_id == name]
    event_id, colon, rest = name.rpartition(":")
    if colon and rest == OUTPUT:
        of_event = columns.request_id.startswith(f"{event_id}:", autoescape=True)
        chosen.append(of_event & columns.request_id.endswith(f"-{OUTPUT}"))
    query = select(notifications).where(or_(*chosen))
    async with database.reading() as connection:
        rows = await connection.execute(query.order_by(columns.request_id))
        return [
            LedgerEntry(
                row.request_id, row.order_id, row.channel, State(row.state), row.attempts, row.claimed_at, row.sent_at
            )
            for row in rows
            # Of an event whose id has a colon, too, and one of which only the beginning is the same.
            if name in (row.request_id, row.order_id) or former_id(row.request_id, OUTPUT) == name
        ]


async def load_customers(database: Database, wishes: Iterable[Customer]) -> int:
    """Store customers' wishes, new or changed; return how many.

    Raises:
        DependencyUnavailable: the database is down.
    """
    rows = [(each.customer_id, each.channel.value, each.address, each.locale, each.secret) for each in wishes]
    types = dict.fromkeys(("customer_id", "channel", "address", "locale", "secret"), str)
    async with database.transaction() as connection:
        if rows:
            await connection.execute(with_rows(connection, _LOAD, **types), packed(sorted(rows)))
    return len(rows)


async def forget_customer(database: Database, customer_id: str) -> bool:
    """Delete what is known of a customer; False if nothing was. The ledger names none.

    Raises:
        DependencyUnavailable: the database is down.
    """
    async with database.transaction() as connection:
        deleted = await connection.execute(delete(customers).where(customers.c.customer_id == customer_id))
    return bool(deleted.rowcount)
