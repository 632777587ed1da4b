"""The stock in the database: movements applied in order, each once, in a handful of statements for a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from models.inventory import StockMovement
from streams.database.effects import Declined
from streams.database.engine import Database
from streams.database.statements import packed, with_rows
from streams.database.stock_tables import back_orders, stock, stock_movements
from streams.stores.article import Article, BackOrder
from streams.stores.former import moved_before
from streams.stores.known import Known, Placed

_KNOWN: Final = Known(stock_movements)
_NEW_ARTICLES: Final = (
    "INSERT INTO stock (sku, opening, on_hand, back_ordered, moved, lines) "
    "SELECT sku, 0, 0, 0, 0, 0 FROM ({rows}) AS wanted WHERE true ON CONFLICT (sku) DO NOTHING"
)
_ARTICLES: Final = (
    "SELECT stock.sku, opening, on_hand, back_ordered, moved, lines FROM stock "
    "JOIN ({rows}) AS wanted ON wanted.sku = stock.sku ORDER BY stock.sku"
)
# Returns the oldest lines, as many as what comes in can fill: an article may have any number of them.
_OPEN_LINES: Final = (
    "SELECT sku, number, order_id, quantity FROM ("
    "SELECT back_orders.sku, number, order_id, quantity, incoming, "
    "sum(quantity) OVER (PARTITION BY back_orders.sku ORDER BY number) - quantity AS owed_before "
    "FROM back_orders JOIN ({rows}) AS wanted ON wanted.sku = back_orders.sku) AS lines "
    "WHERE owed_before < incoming ORDER BY sku, number"
)
_WRITE_ARTICLES: Final = (
    "UPDATE stock SET opening = new.opening, on_hand = new.on_hand, back_ordered = new.back_ordered, "
    "moved = new.moved, lines = new.lines FROM ({rows}) AS new WHERE stock.sku = new.sku"
)
_WRITE_LINES: Final = (
    "INSERT INTO back_orders (sku, number, order_id, quantity) {rows} "
    "ON CONFLICT (sku, number) DO UPDATE SET quantity = excluded.quantity"
)
# Not a correlated EXISTS: SQLite would read all of the rows again for every line there is.
_FILLED_LINES: Final = "DELETE FROM back_orders WHERE (sku, number) IN ({rows})"


class StockEffects:
    """Applies movements to the stock."""

    async def apply(self, connection: AsyncConnection, effects: Sequence[Placed[StockMovement]]) -> Sequence[Declined]:
        """Apply the movements in their order, except those that have been applied before.

        A movement whose id is another's is declined.
        """
        found = await _KNOWN.sort(connection, effects, moved_before)
        to_do = found.new
        if not to_do:
            return found.declined
        lines = [line for movement in to_do for line in movement.lines]
        incoming: Counter[str] = Counter()
        for line in lines:
            if line.quantity < 0:
                incoming[line.sku] -= line.quantity
        articles = await _locked(connection, {line.sku for line in lines}, incoming)
        for movement in to_do:
            for line in movement.lines:
                articles[line.sku].move(line.quantity, movement.order_id)
        await _write(connection, articles.values())
        return ()


async def count_opening_stock(database: Database, opening: Mapping[str, int]) -> None:
    """Set the opening stock of articles, whatever has been moved since.

    Raises:
        DependencyUnavailable: the database is down.
    """
    async with database.transaction() as connection:
        articles = await _locked(connection, opening, opening)
        for sku, pieces in opening.items():
            articles[sku].count(pieces)
        await _write(connection, articles.values())


async def read_articles(database: Database, skus: Iterable[str] = ()) -> list[Article]:
    """Return the stock of articles with their open back-orders, in order; of all if none is named.

    Raises:
        DependencyUnavailable: the database is down.
    """
    wanted = list(skus)
    async with database.reading() as connection:
        articles = select(stock).order_by(stock.c.sku)
        lines = select(back_orders).order_by(back_orders.c.sku, back_orders.c.number)
        if wanted:
            articles = articles.where(stock.c.sku.in_(wanted))
            lines = lines.where(back_orders.c.sku.in_(wanted))
        found = {row.sku: Article(*row) for row in await connection.execute(articles)}
        for row in await connection.execute(lines):
            found[row.sku].open.append(BackOrder(row.number, row.order_id, row.quantity))
    return list(found.values())


async def movements_applied(database: Database) -> int:
    """Count the movements that have been applied.

    Raises:
        DependencyUnavailable: the database is down.
    """
    async with database.reading() as connection:
        return int((await connection.execute(select(func.count()).select_from(stock_movements))).scalar_one())


async def _locked(connection: AsyncConnection, skus: Iterable[str], incoming: Mapping[str, int]) -> dict[str, Article]:
    """Read articles that nobody else can change until the transaction ends; those that are new begin at zero.

    Of their open lines those are read that as many pieces as come in, at most, can fill: who takes pieces need not
    know who waits.

    The rows are locked in the order of their names, as everybody does, so that two cannot wait for each other.
    """
    wanted = packed([[sku] for sku in sorted(skus)])
    await connection.execute(with_rows(connection, _NEW_ARTICLES, sku=str), wanted)
    # SQLite has one writer, and this is it.
    lock = " FOR UPDATE OF stock" if connection.dialect.name == "postgresql" else ""
    rows = await connection.execute(with_rows(connection, _ARTICLES + lock, sku=str), wanted)
    articles = {row.sku: Article(*row) for row in rows}
    owing = [[sku, pieces] for sku, pieces in incoming.items() if articles[sku].back_ordered]
    if owing:
        for row in await connection.execute(with_rows(connection, _OPEN_LINES, sku=str, incoming=int), packed(owing)):
            articles[row.sku].open.append(BackOrder(row.number, row.order_id, row.quantity))
    return articles


async def _write(connection: AsyncConnection, articles: Iterable[Article]) -> None:
    every = list(articles)
    rows = [(each.sku, each.opening, each.on_hand, each.back_ordered, each.moved, each.lines) for each in every]
    columns = {"opening": int, "on_hand": int, "back_ordered": int, "moved": int, "lines": int}
    await connection.execute(with_rows(connection, _WRITE_ARTICLES, sku=str, **columns), packed(rows))
    changed = [(each.sku, line) for each in every for line in each.changed.values()]
    owed = [(sku, line.number, line.order_id, line.quantity) for sku, line in changed if line.quantity]
    filled = [(sku, line.number) for sku, line in changed if not line.quantity]
    if owed:
        statement = with_rows(connection, _WRITE_LINES, sku=str, number=int, order_id=str, quantity=int)
        await connection.execute(statement, packed(owed))
    if filled:
        await connection.execute(with_rows(connection, _FILLED_LINES, sku=str, number=int), packed(filled))
