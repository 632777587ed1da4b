"""All agents, two workers that are killed, a month of a real shop's orders; then every figure is looked at."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner
from sqlalchemy import func, select
from support.kafka import read_topic
from support.online_retail import MONTH, Expected, Sums, add_up
from support.waiting import eventually
from support.worker import KILLED, TRY_AGAIN, Crew, Worker

from streams.commands.platform import platform as platform_command
from streams.database.engine import Database
from streams.database.notification_tables import notifications
from streams.database.sales_tables import sales_facts
from streams.invoices.event import ShopEvent
from streams.invoices.files import read_files
from streams.invoices.publishing import Publisher
from streams.notify.mailbox import Mailbox
from streams.settings import settings
from streams.stores.customer import Channel, Customer
from streams.stores.notifications import load_customers
from streams.stores.sales_report import read_sales
from streams.stores.stock import count_opening_stock, movements_applied, read_articles
from streams.topics import CONSUMED, dead_letter_topic

AGENTS = (
    "agents.payments", "agents.cancellations", "agents.platform", "agents.notifications", "agents.inventory",
    "agents.analytics", "agents.dead_letters",
)  # fmt: skip
_SHARES = 8
_OPENING = 100

pytestmark = pytest.mark.deadline(240)


@dataclass(slots=True)
class Shop:
    """The shop's two workers, and what they have done so far."""

    database: Database
    folder: Path
    mailbox: Mailbox
    expected: Expected
    told: set[str]
    """Customers who wish to be told."""
    workers: tuple[Worker, Worker]
    restarts: int = 0

    async def mend(self) -> None:
        """Start again who ended, as a supervisor would; only delivery in doubt is a reason to end."""
        for worker in self.workers:
            if worker.status is not None:
                assert worker.status in (TRY_AGAIN, KILLED), f"{worker.name} ended with {worker.status}"
                worker.start()
                self.restarts += 1

    def rows(self) -> list[str]:
        """The platform's records, as any reader of Parquet sees them."""
        if not list(self.folder.glob("dt=*/*")):
            return []
        table = ds.dataset(str(self.folder), format="parquet", partitioning="hive").to_table(columns=["order_id"])
        return [str(each) for each in table["order_id"].to_pylist()]

    async def count(self, query: object) -> int:
        async with self.database.reading() as connection:
            return int((await connection.execute(query)).scalar_one())  # type: ignore[call-overload]

    async def facts(self) -> int:
        return await self.count(select(func.count()).select_from(sales_facts))

    async def notified(self) -> int:
        return await self.count(select(func.count()).select_from(notifications).where(notifications.c.state == "sent"))


async def test_a_month_of_orders_is_right_everywhere_although_workers_are_killed(
    crew: Crew, postgresql_database: Database, tmp_path: Path
) -> None:
    expected, events = add_up(MONTH), read_files([MONTH]).events
    database = postgresql_database
    # Every seventh customer is unknown to the shop, every tenth does not wish to hear of it.
    known = {customer for customer in sorted(set(expected.customer_of.values())) if int(customer) % 7}
    told = {customer for customer in known if int(customer) % 10}
    await load_customers(database, [_customer(each, each in told) for each in known])
    await count_opening_stock(database, dict.fromkeys(expected.moved, _OPENING))
    async with Mailbox() as mailbox:
        workers = tuple(_hire(crew, name, database, mailbox, tmp_path) for name in ("one", "two"))
        shop = Shop(database, tmp_path / "platform", mailbox, expected, told, (workers[0], workers[1]))
        await asyncio.gather(*(worker.start().ready() for worker in workers))
        await _work_and_kill(crew, shop, events)
        await _until_done(shop)
        statuses = await asyncio.gather(*(worker.terminate() for worker in workers))
    assert statuses == [0, 0]
    await _everything_is_right(crew, shop, events)


def _customer(customer_id: str, told: bool) -> Customer:
    address = f"customer-{customer_id}@shop.example" if told else ""
    locale = "ko" if int(customer_id) % 2 else "en_GB"
    return Customer(customer_id, Channel.EMAIL if told else Channel.NONE, address, locale)


def _hire(crew: Crew, name: str, database: Database, mailbox: Mailbox, folder: Path) -> Worker:
    return crew.hire(
        name,
        agents=AGENTS,
        DATABASE__URL=database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False),
        PLATFORM__FOLDER=str(folder / "platform"),
        PLATFORM__ROLL_AGE="0.3",
        NOTIFICATIONS__SMTP_PORT=str(mailbox.port),
        NOTIFICATIONS__RATE_PER_HOST="2000",
        DELIVERY__MAX_BATCH_RECORDS="50",
        FAILURE__MAX_DEAD_LETTER_SHARE="1",
        KAFKA__INSTANCE_ID=name,
    )


async def _work_and_kill(crew: Crew, shop: Shop, events: list[ShopEvent]) -> None:
    chance = random.Random(2010)
    size = -(-len(events) // _SHARES)
    for start in range(0, len(events), size):
        producer = AIOKafkaProducer(bootstrap_servers=crew.servers)
        await producer.start()
        await Publisher(producer, deadline=30).publish(events[start : start + size])
        await producer.stop()
        goal = await movements_applied(shop.database) + chance.randint(1, size // 2)
        await _reached(shop, lambda goal=goal: _at_least(movements_applied(shop.database), goal), "work in progress")
        for worker in shop.workers if start % 3 == 2 else (chance.choice(shop.workers),):
            worker.kill()
        await shop.mend()


async def _at_least(count: Awaitable[int], goal: int) -> bool:
    return await count >= goal


async def _reached(shop: Shop, condition: Callable[[], Awaitable[bool]], what: str) -> None:
    async def reached() -> bool:
        await shop.mend()
        return await condition()

    await eventually(reached, what, seconds=90, every=0.05)


async def _until_done(shop: Shop) -> None:
    orders = len(shop.expected.orders)

    async def done() -> bool:
        return (
            await movements_applied(shop.database) == orders
            and await shop.facts() == orders
            and await shop.notified() >= _letters_due(shop)
            and len(shop.rows()) >= orders
        )

    await _reached(shop, done, "everything to be done")


def _letters_due(shop: Shop) -> int:
    return sum(customer in shop.told for customer in shop.expected.customer_of.values())


async def _everything_is_right(crew: Crew, shop: Shop, events: list[ShopEvent]) -> None:
    expected = shop.expected
    assert Counter(shop.rows()) == Counter(expected.orders), "each order is on the platform once"
    assert await asyncio.to_thread(_check, crew, shop.folder) == 0
    for article in await read_articles(shop.database):
        assert article.moved == expected.moved[article.sku]
        assert article.opening - article.on_hand + article.back_ordered == article.moved, article
    (total,) = await read_sales(shop.database)
    assert expected.total == Sums(
        total.orders, total.units, total.revenue, total.refunds, total.units_returned, total.refunded
    )
    ids = Counter(str(letter["Message-ID"]) for letter in shop.mailbox.letters)
    assert len(ids) == _letters_due(shop) == await shop.notified()
    repeated = ids.total() - len(ids)
    letters = {topic: len(await read_topic(crew.servers, dead_letter_topic(settings(), topic))) for topic in CONSUMED}
    assert letters.pop("payment.completed") + letters.pop("payment.cancelled") == len(events) - len(expected.orders)
    assert set(letters.values()) == {0}
    print(
        f"\n{len(events)} events, {shop.restarts} restarts: {len(expected.orders)} orders on the platform, "
        f"{total.revenue} {total.currency} sold and {total.refunded} refunded, {len(ids)} letters ({repeated} repeated)"
    )


def _check(crew: Crew, folder: Path) -> int:
    settings.cache_clear()
    environment = {
        **os.environ, "PAYSTREAM_APP_ID": crew.app_id, "PAYSTREAM_PLATFORM__FOLDER": str(folder),
        "PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": crew.servers,
    }  # fmt: skip
    result = CliRunner().invoke(platform_command, ["check"], env=environment)
    settings.cache_clear()
    if result.exit_code:
        print(result.output)
    return result.exit_code
