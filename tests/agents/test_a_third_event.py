"""An event that nobody thought of when the agents were written: all that follows from it, it says itself."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from faust.types import AgentT

from agents.analytics import analytics
from agents.fan_out import CONSEQUENCES, fan_out
from agents.inventory import inventory
from agents.platform import platform
from models.inventory import StockMovement
from models.notification import ADAPTER
from models.order import OrderEvent
from models.wire import Identifier, Moment
from streams.database.engine import Database
from streams.delivery import Batch, Outbox, Record
from streams.stores.known import Placed
from streams.stores.sales import SalesEffects
from streams.stores.sales_report import By, read_sales
from streams.stores.stock import StockEffects, count_opening_stock, read_articles
from streams.testing import batch, record


class GoodwillGranted(OrderEvent):
    """Money goes back for an order that did not please; the customer keeps the goods."""

    platform_kind = "goodwill"
    sale_kind = "refund"
    template = "goodwill-granted"
    stock_sign = 0

    goodwill_id: Identifier
    payment_id: Identifier
    granted_at: Moment

    @property
    def event_id(self) -> str:
        return self.goodwill_id

    @property
    def occurred_at(self) -> datetime.datetime:
        return self.granted_at


class ReplacementSold(GoodwillGranted):
    """Goods leave, and money comes in, under names of their own."""

    platform_kind = "replacement"
    sale_kind = "sale"
    template = "replacement-sold"
    stock_sign = 1


GOODWILL: dict[str, Any] = {
    "goodwillId": "good-1", "orderId": "536365", "paymentId": "pay-536365", "customerId": "17850",
    "currency": "GBP", "amount": "7.60", "grantedAt": "2010-12-03T10:00:00Z", "country": "Eire",
    "lines": [
        {"sku": "HEART", "name": "A heart", "quantity": 2, "unitPrice": "2.55"},
        {"sku": "SHEET", "name": "A sheet", "quantity": 1, "unitPrice": "2.50"},
    ],
}  # fmt: skip


async def told(model: type[OrderEvent] = GoodwillGranted) -> Batch:
    """Have a handler like those of our agents take the event."""

    def on_event(record: Record, out: Outbox) -> None:
        fan_out(record, out, model, b"/paystream/test")

    taken = batch(record(GOODWILL, topic="goodwill.granted", key=b"536365"))
    await taken.handle(on_event)
    return taken


def values(taken: Batch) -> dict[str, dict[str, Any]]:
    return {output.topic: json.loads(output.value or b"") for output in taken.outputs}


async def effect_of(agent: AgentT[Any], taken: Batch, topic: str) -> Any:
    """Have the agent that reads an output take it; return what it would write."""
    (value,) = [output.value for output in taken.outputs if output.topic == topic]
    read = batch(record(value, topic=topic, key=b"536365"))
    async with agent.test_context() as running:
        await running.put(read)
    assert read.tally.processed == 1, read.outputs
    (effect,) = read.effects
    return effect


async def test_the_four_records_are_what_the_event_says() -> None:
    outputs = values(await told())
    assert list(outputs) == [topic for topic, *_ in CONSEQUENCES]
    order, request = outputs["platform.orders"], outputs["notification.requests"]
    movement, fact = outputs["inventory.movements"], outputs["analytics.sales"]
    assert (order["kind"], order["recordId"], order["paymentId"]) == (
        "goodwill",
        "good-1:goodwill-platform",
        "pay-536365",
    )
    assert (order["amount"], order["itemCount"], order["units"]) == ("7.60", 2, 3)
    assert (request["template"], request["amount"]) == ("goodwill-granted", "7.60")
    assert (movement["movementId"], movement["lines"]) == ("good-1:goodwill-inventory", [])
    assert (fact["kind"], fact["revenue"], fact["units"]) == ("refund", "7.60", 0)
    assert fact["lines"] == [
        {"sku": "HEART", "quantity": 0, "revenue": "5.10"},
        {"sku": "SHEET", "quantity": 0, "revenue": "2.50"},
    ]


async def test_another_one_that_sells_is_not_taken_for_a_payment() -> None:
    outputs = values(await told(ReplacementSold))
    assert outputs["platform.orders"]["kind"] == "replacement"
    assert outputs["notification.requests"]["template"] == "replacement-sold"
    assert [line["quantity"] for line in outputs["inventory.movements"]["lines"]] == [2, 1]
    assert (outputs["analytics.sales"]["kind"], outputs["analytics.sales"]["units"]) == ("sale", 3)


async def test_the_agents_that_read_the_records_take_them_as_they_are() -> None:
    taken = await told()
    row = await effect_of(platform, taken, "platform.orders")
    assert (row.order.kind, row.order.record_id) == ("goodwill", "good-1:goodwill-platform")
    movement = (await effect_of(inventory, taken, "inventory.movements")).message
    assert (movement.movement_id, movement.lines) == ("good-1:goodwill-inventory", ())
    fact = (await effect_of(analytics, taken, "analytics.sales")).message
    assert (fact.kind, fact.fact_id) == ("refund", "good-1:goodwill-analytics")
    (request,) = [output.value for output in taken.outputs if output.topic == "notification.requests"]
    assert ADAPTER.validate_json(request or b"").template == "goodwill-granted"


async def test_money_that_goes_back_without_goods_is_refunded_and_leaves_the_shelf_as_it_is(
    database: Database,
) -> None:
    await count_opening_stock(database, {"HEART": 10})
    taken = await told()
    movement: Placed[StockMovement] = await effect_of(inventory, taken, "inventory.movements")
    fact = await effect_of(analytics, taken, "analytics.sales")
    async with database.transaction() as connection:
        await StockEffects().apply(connection, [movement])
        await SalesEffects().apply(connection, [fact])
    (heart,) = await read_articles(database)
    assert (heart.sku, heart.on_hand, heart.moved) == ("HEART", 10, 0)
    (sales,) = await read_sales(database, by=[By.COUNTRY])
    assert (str(sales.refunded), sales.refunds, sales.units_returned) == ("7.60", 1, 0)


@pytest.mark.parametrize("fact", ["platform_kind", "sale_kind", "template", "stock_sign"])
def test_an_event_that_leaves_open_what_follows_from_it_cannot_be_declared(fact: str) -> None:
    facts = {"platform_kind": "x", "sale_kind": "sale", "template": "x", "stock_sign": 1}
    del facts[fact]
    with pytest.raises(TypeError, match=f"^Incomplete does not declare {fact}$"):
        type("Incomplete", (OrderEvent,), {"__module__": __name__, **facts})
