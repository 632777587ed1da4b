"""Whether a row of before schema 0006 may be the event's that comes now: such a row has an id, and says no more.

Payment 1001 may have left the row ``1001:inventory``, or cancellation 1001 may, whichever came first; the other was
taken for its repeat. What is told here is what can be: that a row is certainly *not* of an event. What is left is taken
for a repeat, as it was when the row was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from models.analytics import OUTPUT as ANALYTICS
from models.analytics import SaleFact
from models.identity import FORMER_REFUND, FORMER_SALE
from models.inventory import StockMovement
from streams.database.statements import packed, with_rows
from streams.stores.known import Former

_MINUTE: Final = 60
_MILLIONTHS: Final = 6

_WINDOWS: Final = (
    "SELECT number, orders, revenue, refunds, refunded FROM ({rows}) AS wanted JOIN sales_totals AS totals "
    "ON totals.minute = wanted.minute AND totals.currency = wanted.currency AND totals.country = wanted.country"
)
# What was counted under the same event's id, and whether the event's own minute has anything of its kind.
_SALES: Final = (
    "SELECT number, "
    "EXISTS (SELECT 1 FROM sales_facts WHERE fact_id = wanted.former AND digest IS NULL) AS first_counted, "
    "EXISTS (SELECT 1 FROM sales_facts WHERE fact_id = wanted.today) AS counted_apart, "
    "EXISTS (SELECT 1 FROM sales_totals WHERE sales_totals.minute = wanted.minute AND "
    "CASE wanted.kind WHEN 'sale' THEN orders WHEN 'refund' THEN refunds ELSE orders + refunds END > 0) AS in_minute "
    "FROM ({rows}) AS wanted"
)


def minute_of(moment: datetime) -> int:
    """Return the minute of a moment, in seconds since 1970."""
    # Without its fraction, which a float of many seconds may round up into the next minute.
    second = int(moment.replace(microsecond=0).timestamp())
    return second - second % _MINUTE


async def counted_before(connection: AsyncConnection, formers: Sequence[Former[SaleFact]]) -> list[bool]:
    """Tell which facts may have been counted: those whose money may be in the sums of their minute.

    Of a sum that is not there nothing was counted, whatever the ids say.
    """
    wanted = [
        (number, minute_of(each.message.occurred_at), each.message.currency, each.message.country)
        for number, each in enumerate(formers)
    ]
    statement = with_rows(connection, _WINDOWS, number=int, minute=int, currency=str, country=str)
    may_be = [False] * len(formers)
    for row in await connection.execute(statement, packed(wanted)):
        fact = formers[row.number].message
        times, money = (row.orders, row.revenue) if fact.kind == "sale" else (row.refunds, row.refunded)
        may_be[row.number] = times > 0 and money >= int(fact.revenue.scaleb(_MILLIONTHS))
    return may_be


async def moved_before(connection: AsyncConnection, formers: Sequence[Former[StockMovement]]) -> list[bool]:
    """Tell which movements may have been applied: the sales know, if they are counted here, too.

    If the sales have counted an event under the same id, and it was not the one that moves these pieces (nothing of
    its kind is in the sums of its minute), then these pieces were not moved either.
    """
    statement = with_rows(connection, _SALES, number=int, former=str, today=str, minute=int, kind=str)
    rows = await connection.execute(statement, packed([_in_sales(*each) for each in enumerate(formers)]))
    other = {row.number for row in rows if row.first_counted and (row.counted_apart or not row.in_minute)}
    return [not each.too_old and number not in other for number, each in enumerate(formers)]


def _in_sales(number: int, former: Former[StockMovement]) -> tuple[int, str, str, int, str]:
    event_id, _, rest = former.message.identity.rpartition(":")
    event_kind = rest.rpartition("-")[0]
    kind = {FORMER_SALE: "sale", FORMER_REFUND: "refund"}.get(event_kind, "")
    minute = minute_of(former.message.occurred_at)
    return number, f"{event_id}:{ANALYTICS}", f"{event_id}:{event_kind}-{ANALYTICS}", minute, kind
