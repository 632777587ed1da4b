"""Cancellations through a real Kafka, from the shop's file to the four topics or the dead letters."""

from __future__ import annotations

import asyncio
import csv
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from click.testing import CliRunner
from support.agent import running
from support.kafka import produce, read_topic, recreate_declared_topics
from support.online_retail import DAY, add_up
from support.payments import Raw

from agents.cancellations import on_cancellation
from agents.fan_out import CONSEQUENCES
from streams.commands.publish import publish
from streams.dead_letters.reading import read_dead_letter
from streams.failure.errors import ExitStatus
from streams.sandbox import Cluster
from streams.settings import Settings
from streams.topics import (
    ANALYTICS_SALES,
    INVENTORY_MOVEMENTS,
    NOTIFICATION_REQUESTS,
    PAYMENT_CANCELLED,
    PLATFORM_ORDERS,
    dead_letter_topic,
)

LETTERS = dead_letter_topic(Settings(), PAYMENT_CANCELLED)
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


@pytest.fixture
def servers(kafka: Cluster) -> str:
    """The broker, with the pipeline's topics empty."""
    asyncio.run(recreate_declared_topics(kafka.bootstrap_servers, Settings()))
    return kafka.bootstrap_servers


async def published(servers: str, file: Path) -> None:
    """Publish a file by the command that does so."""
    environment = {"PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": servers}
    result = await asyncio.to_thread(CliRunner().invoke, publish, [str(file)], env=environment)
    assert result.exit_code == ExitStatus.OK, result.stderr


async def worked_through(servers: str) -> None:
    async with running(servers, [PAYMENT_CANCELLED], on_cancellation) as agent:
        await agent.consumed()


async def values(servers: str, topic: str) -> dict[str, dict[str, Any]]:
    """The values in a topic by their key; no key is there twice."""
    records = await read_topic(servers, topic)
    found = {record.key.decode(): json.loads(record.value) for record in records}
    assert len(found) == len(records)
    return found


async def test_the_cancellations_of_the_example_come_out_in_all_four_topics(servers: str) -> None:
    await published(servers, DAY)
    sources = {record.key: record for record in await read_topic(servers, PAYMENT_CANCELLED)}
    await worked_through(servers)

    expected = add_up(DAY)  # from the rows of the file, without our models
    cancelled = {number for number in expected.orders if number.startswith("C")}
    with DAY.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["InvoiceNo"] in cancelled]
    assert len(cancelled) == len(sources) == expected.total.refunds == 6

    orders = await values(servers, PLATFORM_ORDERS)
    assert orders.keys() == cancelled
    assert {order["kind"] for order in orders.values()} == {"cancellation"}
    assert sum(Decimal(order["amount"]) for order in orders.values()) == expected.total.refunded
    assert sum(order["itemCount"] for order in orders.values()) == len(rows)

    requests = await values(servers, NOTIFICATION_REQUESTS)
    assert {request["template"] for request in requests.values()} == {"payment-cancelled"}
    told = {number: request["customerId"] for number, request in requests.items()}
    assert told == {number: expected.customer_of.get(number) for number in cancelled}

    moved: Counter[str] = Counter()
    for movement in (await values(servers, INVENTORY_MOVEMENTS)).values():
        for line in movement["lines"]:
            assert line["quantity"] < 0, "everything comes back"
            moved[line["sku"]] += line["quantity"]
    by_hand: Counter[str] = Counter()
    for row in rows:
        by_hand[row["StockCode"]] += int(row["Quantity"])
    assert dict(moved) == dict(by_hand)

    facts = await values(servers, ANALYTICS_SALES)
    assert facts.keys() == cancelled
    assert {fact["kind"] for fact in facts.values()} == {"refund"}
    assert sum(Decimal(fact["revenue"]) for fact in facts.values()) == expected.total.refunded
    assert sum(fact["units"] for fact in facts.values()) == expected.total.returned
    assert await read_topic(servers, LETTERS) == []

    for topic, kind, schema, _ in CONSEQUENCES:
        for record in await read_topic(servers, topic):
            headers, source = dict(record.headers), sources[record.key]
            assert record.partition == source.partition
            assert headers["ce_id"] == b"can-%b:cancellation-%b" % (record.key, kind.encode())
            assert headers["ce_causationid"] == dict(source.headers)["ce_id"]
            assert headers["ce_time"] == dict(source.headers)["ce_time"]
            assert (headers["ce_type"], headers["ce_source"]) == (schema, b"/paystream/cancellations")


async def test_a_cancellation_that_cannot_be_right_is_kept_with_its_reason_and_the_next_one_goes_on(
    servers: str, tmp_path: Path
) -> None:
    file = tmp_path / "day.csv"
    row = "{},22632,HAND WARMER,{},2010-12-01 09:41:00,{},14527,United Kingdom\n"
    file.write_text(
        HEADER
        + row.format("C1", "10", "2.75")  # more pieces on a credit note would leave the shelf
        + row.format("C2", "-10", "0.00")  # nothing is given back for them
        + row.format("C3", "-10", "2.75")
    )
    await published(servers, file)
    await produce(servers, PAYMENT_CANCELLED, [Raw(0, b"C4", b'{"cancellationId": "can-C4", ')])
    originals = {record.key: record for record in await read_topic(servers, PAYMENT_CANCELLED)}
    await worked_through(servers)

    letters = {record.key: record for record in await read_topic(servers, LETTERS)}
    for key, letter in letters.items():
        assert_is_the_original(letter, originals[key])
    said = {key: read_dead_letter(letter.headers) for key, letter in letters.items()}
    assert {key: (info.stage, info.disposition) for key, info in said.items()} == {
        b"C1": ("validate", "permanent"),
        b"C2": ("validate", "permanent"),
        b"C4": ("decode", "permanent"),
    }
    assert "lines.0.quantity" in (said[b"C1"].reason or "")
    assert said[b"C2"].reason == "amount must be greater than 0"
    for topic, *_ in CONSEQUENCES:
        assert [record.key for record in await read_topic(servers, topic)] == [b"C3"]


def assert_is_the_original(letter: ConsumerRecord, original: ConsumerRecord) -> None:
    """Check that it is kept byte for byte, where it was, with its headers and its place."""
    assert (letter.value, letter.partition) == (original.value, original.partition)
    assert letter.headers[: len(original.headers)] == original.headers
    origin = read_dead_letter(letter.headers).origin
    assert origin is not None
    assert (origin.topic, origin.offset) == (PAYMENT_CANCELLED, original.offset)
