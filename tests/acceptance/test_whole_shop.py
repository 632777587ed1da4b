"""All agents, two workers that are killed, a month of a real shop's orders; then every figure is looked at."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner
from sqlalchemy import func, select
from support.kafka import read_topic
from support.online_retail import INVOICES_OF_MONTH, MONTH, Expected, Sums, add_up, cancels
from support.receiver import Receiver, receiver
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
from streams.stores.sales_report import By, Sales, read_sales
from streams.stores.stock import count_opening_stock, movements_applied, read_articles
from streams.topics import CONSUMED, PAYMENT_CANCELLED, PAYMENT_COMPLETED, dead_letter_topic

AGENTS = (
    "agents.payments", "agents.cancellations", "agents.platform", "agents.notifications", "agents.inventory",
    "agents.analytics", "agents.dead_letters",
)  # fmt: skip
# SQLite has one writer at a time, and every share costs a start.
_SHARES = {"postgresql": 8, "sqlite": 3}
_OPENING = 100
_SUBJECTS = {
    ("en_GB", False): "Your order {} is paid",
    ("en_GB", True): "Your cancellation {}",
    ("ko", False): "주문 {} 결제가 완료되었습니다",
    ("ko", True): "취소 {} 처리가 완료되었습니다",
}

pytestmark = pytest.mark.deadline(240)


@dataclass(slots=True)
class Shop:
    """The shop's two workers, and what they have done so far."""

    database: Database
    folder: Path
    mailbox: Mailbox
    hook: Receiver
    expected: Expected
    opening: dict[str, int]
    told: dict[str, Customer]
    """Customers who wish to be told."""
    workers: tuple[Worker, Worker]
    kills: int = 0
    restarts: int = 0

    async def mend(self) -> None:
        """Start again who ended, as a supervisor would; only delivery in doubt is a reason to end."""
        for worker in self.workers:
            if worker.status is not None:
                assert worker.status in (TRY_AGAIN, KILLED), f"{worker.name} ended with {worker.status}"
                worker.start()
                self.restarts += 1

    def records(self, *columns: str) -> list[dict[str, Any]]:
        """The platform's records, as any reader of Parquet sees them."""
        if not list(self.folder.glob("dt=*/*")):
            return []
        table = ds.dataset(str(self.folder), format="parquet", partitioning="hive").to_table(columns=list(columns))
        found: list[dict[str, Any]] = table.to_pylist()
        return found

    def due(self) -> Iterator[tuple[str, Customer]]:
        """The orders of which somebody wishes to be told."""
        for order, customer_id in self.expected.customer_of.items():
            if customer_id in self.told:
                yield order, self.told[customer_id]

    async def count(self, query: object) -> int:
        async with self.database.reading() as connection:
            return int((await connection.execute(query)).scalar_one())  # type: ignore[call-overload]

    async def facts(self) -> int:
        return await self.count(select(func.count()).select_from(sales_facts))

    async def notified(self) -> int:
        return await self.count(select(func.count()).select_from(notifications).where(notifications.c.state == "sent"))

    async def attempts(self) -> int:
        return await self.count(select(func.sum(notifications.c.attempts)))


async def test_a_month_of_orders_is_right_everywhere_although_workers_are_killed(
    crew: Crew, database: Database, database_url: str, tmp_path: Path
) -> None:
    expected, events = add_up(MONTH), read_files([MONTH]).events
    assert len(events) == INVOICES_OF_MONTH
    # Every fifth article is not on the shop's list.
    opening = {sku: _OPENING for number, sku in enumerate(sorted(expected.moved)) if number % 5}
    await count_opening_stock(database, opening)
    async with Mailbox() as mailbox, receiver() as hook:
        customers = _customers(expected, hook.url)
        await load_customers(database, customers)
        told = {each.customer_id: each for each in customers if each.channel is not Channel.NONE}
        one, two = (_hire(crew, name, database_url, mailbox, tmp_path) for name in ("one", "two"))
        shop = Shop(database, tmp_path / "platform", mailbox, hook, expected, opening, told, (one, two))
        await asyncio.gather(*(worker.start().ready() for worker in shop.workers))
        await _work_and_kill(crew, shop, events)
        await _until_done(shop)
        # One that was started again and had nothing left to do may still be starting.
        await asyncio.gather(*(worker.ready() for worker in shop.workers))
        statuses = await asyncio.gather(*(worker.terminate() for worker in shop.workers))
    assert statuses == [0, 0]
    shares = _SHARES[database.dialect]
    assert shop.restarts >= shop.kills > shares, "in each share one is killed, and in some both"
    await _everything_is_right(crew, shop, events)


def _customers(expected: Expected, hook: str) -> list[Customer]:
    """Every seventh customer is unknown to the shop, every tenth does not wish to hear of it; one has a webhook."""
    known = [each for each in sorted(set(expected.customer_of.values())) if int(each) % 7]
    told = [each for each in known if int(each) % 10]
    orders = Counter(expected.customer_of.values())
    busiest = max(told, key=lambda each: orders[each])
    return [_customer(each, hook if each == busiest else "", each in told) for each in known]


def _customer(customer_id: str, hook: str, told: bool) -> Customer:
    locale = "ko" if int(customer_id) % 2 else "en_GB"
    if hook:
        return Customer(customer_id, Channel.WEBHOOK, hook, locale, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    if not told:
        return Customer(customer_id, Channel.NONE, "", locale)
    return Customer(customer_id, Channel.EMAIL, f"customer-{customer_id}@shop.example", locale)


def _hire(crew: Crew, name: str, database_url: str, mailbox: Mailbox, folder: Path) -> Worker:
    return crew.hire(
        name,
        agents=AGENTS,
        DATABASE__URL=database_url,
        PLATFORM__FOLDER=str(folder / "platform"),
        PLATFORM__ROLL_AGE="0.3",
        NOTIFICATIONS__SMTP_PORT=str(mailbox.port),
        NOTIFICATIONS__RATE_PER_HOST="2000",
        NOTIFICATIONS__WEBHOOK_PRIVATE="true",
        DELIVERY__MAX_BATCH_RECORDS="50",
        FAILURE__MAX_DEAD_LETTER_SHARE="1",
        KAFKA__INSTANCE_ID=name,
    )


async def _work_and_kill(crew: Crew, shop: Shop, events: list[ShopEvent]) -> None:
    chance = random.Random(2010)
    size = -(-len(events) // _SHARES[shop.database.dialect])
    for index, start in enumerate(range(0, len(events), size)):
        # More than half of every share counts, so this will be reached, and there is work left when it is.
        goal = await movements_applied(shop.database) + chance.randint(1, size // 2)
        await _publish(crew, events[start : start + size])
        await _until_moved(shop, goal)
        victims = shop.workers if index % 3 == 1 else (chance.choice(shop.workers),)
        for worker in victims:
            worker.kill()
        shop.kills += len(victims)
        await shop.mend()


async def _publish(crew: Crew, events: list[ShopEvent]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=crew.servers)
    await producer.start()
    await Publisher(producer, deadline=30).publish(events)
    await producer.stop()


async def _reached(shop: Shop, condition: Callable[[], Awaitable[bool]], what: str) -> None:
    async def reached() -> bool:
        await shop.mend()
        return await condition()

    await eventually(reached, what, seconds=90, every=0.05)


async def _until_moved(shop: Shop, goal: int) -> None:
    async def moved() -> bool:
        return await movements_applied(shop.database) >= goal

    await _reached(shop, moved, "work in progress")


async def _until_done(shop: Shop) -> None:
    orders, due = len(shop.expected.orders), len(list(shop.due()))

    async def done() -> bool:
        return (
            await movements_applied(shop.database) == orders
            and await shop.facts() == orders
            and await shop.notified() >= due
            and len(shop.records("order_id")) >= orders
        )

    await _reached(shop, done, "everything to be done")


async def _everything_is_right(crew: Crew, shop: Shop, events: list[ShopEvent]) -> None:
    _the_platform_has_each_order_once(shop)
    assert await asyncio.to_thread(_check, crew, shop.folder) == 0
    await _the_sales_are_right_to_the_penny(shop)
    await _the_stock_is_what_is_left(shop)
    _the_letters_are_those_due(shop)
    _the_webhooks_are_those_due(shop)
    sent = len(shop.mailbox.letters) + len(shop.hook.posts)
    due = len(list(shop.due()))
    assert due == await shop.notified() <= sent <= await shop.attempts(), "nothing is sent that was not claimed"
    await _what_does_not_count_is_a_dead_letter(crew, shop.expected, events)
    total = shop.expected.total
    print(
        f"\n{len(events)} events on {shop.database.dialect}, {shop.kills} kills, {shop.restarts} restarts: "
        f"{total.orders} orders and {total.refunds} cancellations on the platform, {total.revenue} sold and "
        f"{total.refunded} refunded, {sent} letters and webhooks ({sent - due} repeated)"
    )


def _the_platform_has_each_order_once(shop: Shop) -> None:
    records = shop.records("kind", "record_id", "order_id", "amount", "units")
    orders = shop.expected.orders
    assert sorted((each["order_id"], each["record_id"], each["kind"]) for each in records) == sorted(
        (order, f"can-{order}:cancellation-platform", "cancellation")
        if cancels(order)
        else (order, f"pay-{order}:order-platform", "order")
        for order in orders
    )
    sums = Sums()
    for each in records:
        sums.count(each["kind"] == "cancellation", each["units"], each["amount"])
    assert sums == shop.expected.total


async def _the_sales_are_right_to_the_penny(shop: Shop) -> None:
    expected, database = shop.expected, shop.database
    (total,) = await read_sales(database)
    assert (_sums(total), total.currency) == (expected.total, "GBP")
    assert total.refunds == sum(cancels(order) for order in expected.orders)
    assert {each.country: _sums(each) for each in await read_sales(database, by=[By.COUNTRY])} == expected.by_country
    assert {each.sku: _sums(each) for each in await read_sales(database, by=[By.SKU])} == expected.by_sku
    days = await read_sales(database, by=[By.DAY])
    assert {each.window.strftime("%Y-%m-%d"): _sums(each) for each in days if each.window} == expected.by_day


def _sums(row: Sales) -> Sums:
    return Sums(row.orders, row.units, row.revenue, row.refunds, row.units_returned, row.refunded)


async def _the_stock_is_what_is_left(shop: Shop) -> None:
    articles = {each.sku: each for each in await read_articles(shop.database)}
    assert {sku: each.moved for sku, each in articles.items()} == shop.expected.moved
    for sku, article in articles.items():
        opening = shop.opening.get(sku, 0)
        left = opening - article.moved
        assert (article.opening, article.on_hand, article.back_ordered) == (opening, max(left, 0), max(-left, 0)), sku
        assert sum(line.quantity for line in article.open) == article.back_ordered, sku


def _the_letters_are_those_due(shop: Shop) -> None:
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    for letter in shop.mailbox.letters:
        ids[str(letter["To"]), str(letter["Subject"])].add(str(letter["Message-ID"]))
    assert set(ids) == {
        (customer.address, _SUBJECTS[customer.locale, cancels(order)].format(order))
        for order, customer in shop.due()
        if customer.channel is Channel.EMAIL
    }
    assert len(set.union(*ids.values())) == len(ids) == sum(map(len, ids.values())), "a repeat has the same id"


def _the_webhooks_are_those_due(shop: Shop) -> None:
    posts = [(post.headers["webhook-id"], json.loads(post.body)) for post in shop.hook.posts]
    assert {(name, body["type"], body["data"]["orderId"]) for name, body in posts} == {
        (f"can-{order}:cancellation-notification", "payment-cancelled", order)
        if cancels(order)
        else (f"pay-{order}:order-notification", "payment-completed", order)
        for order, customer in shop.due()
        if customer.channel is Channel.WEBHOOK
    }


async def _what_does_not_count_is_a_dead_letter(crew: Crew, expected: Expected, events: list[ShopEvent]) -> None:
    letters = {
        topic: Counter(
            each.key.decode() for each in await read_topic(crew.servers, dead_letter_topic(settings(), topic))
        )
        for topic in CONSUMED
    }
    refused = letters.pop(PAYMENT_COMPLETED) + letters.pop(PAYMENT_CANCELLED)
    assert refused == Counter({event.key.decode() for event in events} - expected.orders)
    assert not any(letters.values())


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
