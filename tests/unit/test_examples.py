"""The sample files fit the sample day: a newcomer loads them, publishes it, and sees every agent at work."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from models.cancellation import PaymentCancelled
from models.order import OrderEvent
from models.payment import PaymentCompleted
from streams.commands.inventory import read_opening_stock
from streams.commands.notifications import read_customers
from streams.invoices.event import COMPLETED
from streams.invoices.files import read_files
from streams.stores.customer import Channel

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def day() -> list[OrderEvent]:
    """The day's orders and cancellations, without those that become dead letters."""
    found: list[OrderEvent] = []
    for event in read_files([EXAMPLES / "online_retail_2010-12-01.csv"]).events:
        model: type[OrderEvent] = PaymentCompleted if event.kind is COMPLETED else PaymentCancelled
        try:
            found.append(model.model_validate_json(event.value))
        except ValidationError:
            continue
    return found


def test_there_is_opening_stock_of_every_article_of_the_day_and_of_no_other(day: list[OrderEvent]) -> None:
    opening = read_opening_stock(EXAMPLES / "opening_stock.csv")
    assert opening.keys() == {line.sku for order in day for line in order.lines}
    assert set(opening.values()) == {20}


def test_every_customer_of_the_day_is_known_and_no_other(day: list[OrderEvent]) -> None:
    customers = read_customers(EXAMPLES / "customers.csv")
    assert {each.customer_id for each in customers} == {order.customer_id for order in day if order.customer_id}


def test_half_of_the_customers_read_korean_and_a_few_are_not_told() -> None:
    customers = read_customers(EXAMPLES / "customers.csv")
    told = [each for each in customers if each.channel is Channel.EMAIL]
    korean = [each for each in told if each.locale == "ko"]
    assert {each.locale for each in told} == {"ko", "en_GB"}
    assert abs(len(told) - 2 * len(korean)) <= 1
    assert {each.channel for each in customers} == {Channel.EMAIL, Channel.NONE}
    assert 0 < len(customers) - len(told) < 10


def test_no_address_is_anybodys() -> None:
    customers = read_customers(EXAMPLES / "customers.csv")
    assert all(each.address.endswith("@shop.example") for each in customers if each.channel is Channel.EMAIL)
    assert not any(each.secret for each in customers)


def test_the_page_counts_the_files_as_they_are() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    customers = read_customers(EXAMPLES / "customers.csv")
    assert f"the {len(read_opening_stock(EXAMPLES / 'opening_stock.csv')):,} articles" in page
    assert f"their {len(customers)} customers" in page
    for locale, words in (("ko", "with letters in Korean"), ("en_GB", "in English")):
        assert f"{sum(each.locale == locale for each in customers)} {words}" in page
