"""Customers' wishes, and the ledger of what they were told."""

from __future__ import annotations

import enum
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, or_, select, update

from streams.database.engine import Database
from streams.database.notification_tables import customers, notifications
from streams.database.statements import packed, with_rows
from streams.stores.customer import Channel, Customer

_CLAIM: Final = (
    "INSERT INTO notifications (request_id, order_id, channel, state, attempts, claimed_at) "
    "SELECT request_id, order_id, channel, 'claimed', 1, claimed_at FROM ({rows}) AS claims WHERE true "
    "ON CONFLICT (request_id) DO UPDATE SET state = 'claimed', channel = excluded.channel, "
    "attempts = notifications.attempts + 1, claimed_at = excluded.claimed_at "
    "WHERE notifications.state <> 'sent' RETURNING attempts"
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


async def claim(database: Database, request_id: str, order_id: str, channel: Channel) -> int:
    """Note that a notification is about to be sent, before it is; return the number of the attempt.

    0 says that it has been sent, and must not be again.

    Raises:
        DependencyUnavailable: the database is down.
    """
    row = (request_id, order_id, channel.value, int(time.time()))
    async with database.transaction() as connection:
        statement = with_rows(connection, _CLAIM, request_id=str, order_id=str, channel=str, claimed_at=int)
        attempts = (await connection.execute(statement, packed([row]))).scalar_one_or_none()
    return int(attempts or 0)


async def record(database: Database, request_id: str, state: State) -> None:
    """Note what became of it.

    What was sent is not refused afterwards, whatever a former owner of the partition, who was slower, has been told.

    Raises:
        DependencyUnavailable: the database is down.
    """
    sent_at = int(time.time()) if state is State.SENT else None
    changed = update(notifications).where(notifications.c.request_id == request_id)
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

    Raises:
        DependencyUnavailable: the database is down.
    """
    columns = notifications.c
    query = select(notifications).where(or_(columns.request_id == name, columns.order_id == name))
    async with database.reading() as connection:
        rows = await connection.execute(query.order_by(columns.request_id))
        return [
            LedgerEntry(
                row.request_id, row.order_id, row.channel, State(row.state), row.attempts, row.claimed_at, row.sent_at
            )
            for row in rows
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
