"""One id for a payment and a cancellation, and one for two payments: what all agents together make of it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.databases import make_url_of, opened, upgraded
from support.kafka import produce, read_topic
from support.payments import Raw
from support.waiting import eventually
from support.worker import Crew

from streams.commands.platform import platform as platform_command
from streams.database.engine import Database
from streams.notify.mailbox import Mailbox
from streams.settings import settings
from streams.stores.customer import Channel, Customer
from streams.stores.notifications import load_customers
from streams.stores.sales_report import read_sales
from streams.stores.stock import read_articles
from streams.topics import (
    ANALYTICS_SALES,
    INVENTORY_MOVEMENTS,
    NOTIFICATION_REQUESTS,
    PAYMENT_CANCELLED,
    PAYMENT_COMPLETED,
)

AGENTS = (
    "agents.payments", "agents.cancellations", "agents.platform", "agents.notifications", "agents.inventory",
    "agents.analytics", "agents.dead_letters",
)  # fmt: skip
COUNTED = (INVENTORY_MOVEMENTS, ANALYTICS_SALES, NOTIFICATION_REQUESTS)


def event(names: str, moment: str, quantity: int) -> bytes:
    return (
        f'{{{names}, "customerId": "C1", "currency": "GBP", "amount": "{quantity}0.00", {moment}, "country": "Eire", '
        f'"lines": [{{"sku": "A1", "name": "thing", "quantity": {quantity}, "unitPrice": "10.00"}}]}}'
    ).encode()


def payment(payment_id: str, order_id: str, quantity: int) -> bytes:
    names = f'"paymentId": "{payment_id}", "orderId": "{order_id}", "method": "CARD"'
    return event(names, '"paidAt": "2026-01-01T10:00:00Z"', quantity)


def cancellation(cancellation_id: str, order_id: str, quantity: int) -> bytes:
    names = f'"cancellationId": "{cancellation_id}", "orderId": "{order_id}"'
    return event(names, '"cancelledAt": "2026-01-02T10:00:00Z"', quantity)


async def letters(crew: Crew) -> dict[str, list[bytes]]:
    return {topic: [each.key for each in await read_topic(crew.servers, f"{topic}.DLT")] for topic in COUNTED}


def check(crew: Crew, folder: Path, *arguments: str) -> tuple[int, str]:
    settings.cache_clear()
    environment = {
        **os.environ, "PAYSTREAM_APP_ID": crew.app_id, "PAYSTREAM_PLATFORM__FOLDER": str(folder),
        "PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": crew.servers,
    }  # fmt: skip
    result = CliRunner().invoke(platform_command, ["check", *arguments], env=environment)
    settings.cache_clear()
    return result.exit_code, result.output


async def moved(database: Database) -> int:
    return sum(each.moved for each in await read_articles(database))


@pytest.mark.deadline(180)
async def test_nothing_vanishes_and_nothing_counts_twice(crew: Crew, tmp_path: Path) -> None:
    url = await upgraded(make_url_of("sqlite", tmp_path, None))
    async with opened(url) as database, Mailbox() as mailbox:
        await load_customers(database, [Customer("C1", Channel.EMAIL, "one@customer.example", "en")])
        worker = crew.hire(
            "worker", agents=AGENTS, DATABASE__URL=url, PLATFORM__FOLDER=str(tmp_path / "platform"),
            PLATFORM__ROLL_AGE="0.2", NOTIFICATIONS__SMTP_PORT=str(mailbox.port),
        )  # fmt: skip
        await worker.start().ready()

        async def publish(topic: str, order_id: str, value: bytes) -> None:
            await produce(crew.servers, topic, [Raw(0, order_id.encode(), value)])

        async def told(subjects: int) -> None:
            await eventually(lambda: len(mailbox.letters) >= subjects, f"{subjects} letters", seconds=60)

        await publish(PAYMENT_COMPLETED, "o-1", payment("1001", "o-1", 5))
        await told(1)
        await publish(PAYMENT_CANCELLED, "k-1", cancellation("1001", "k-1", 5))
        await told(2)
        for order_id, quantity in (("o-555", 5), ("o-555", 5), ("o-556", 7), ("o-557", 1)):
            payment_id = "557" if order_id == "o-557" else "555"
            await publish(PAYMENT_COMPLETED, order_id, payment(payment_id, order_id, quantity))
        await told(4)

        async def all_there() -> bool:
            return await letters(crew) == {topic: [b"o-556"] for topic in COUNTED} and await moved(database) == 6

        await eventually(all_there, "a dead letter of each", seconds=60)
        (sales,) = await read_sales(database)
        assert (sales.orders, sales.revenue, sales.refunds, sales.refunded) == (3, 110, 1, 50)
        assert await worker.terminate() == 0
    assert sorted(str(each["Subject"]) for each in mailbox.letters) == [
        "Your cancellation k-1", "Your order o-1 is paid", "Your order o-555 is paid", "Your order o-557 is paid",
    ]  # fmt: skip
    assert len({str(each["Message-ID"]) for each in mailbox.letters}) == 4
    for topic in COUNTED:
        (letter,) = await read_topic(crew.servers, f"{topic}.DLT")
        headers = dict(letter.headers)
        assert f"the record at {topic}-0@".encode() in headers["x-error-reason"]
        assert headers["x-error-stage"] == b"validate"
    status, output = await asyncio.to_thread(check, crew, tmp_path / "platform")
    assert status == 1
    assert "555:order-platform is the id of 2 different records: 0@" in output
    status, output = await asyncio.to_thread(check, crew, tmp_path / "platform", "--reviewed", "555:order-platform")
    assert status == 0, output
