"""The sales on real databases: a month of a real shop, to the penny, whatever is rolled back, repeated or late."""

from __future__ import annotations

import asyncio
import csv
import io
import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from support.databases import opened
from support.online_retail import MONTH, Sums, add_up
from support.placed import placed

from models.analytics import SaleFact, SaleLine
from models.cancellation import PaymentCancelled
from models.payment import PaymentCompleted
from streams.commands.analytics import analytics as command
from streams.database.engine import Database
from streams.invoices.event import COMPLETED
from streams.invoices.files import read_files
from streams.settings import settings
from streams.stores.sales import SalesEffects
from streams.stores.sales_report import By, Sales, read_sales

NOON = datetime(2010, 12, 1, 12, 0, 30, tzinfo=timezone.utc)


def facts_of(path: Path) -> list[SaleFact]:
    found = []
    for event in read_files([path]).events:
        model = PaymentCompleted if event.kind is COMPLETED else PaymentCancelled
        try:
            found.append(SaleFact.of(model.model_validate_json(event.value)))
        except ValidationError:
            continue
    return found


def fact(number: int, at: datetime, revenue: str = "5.00", kind: str = "sale", country: str = "Eire") -> SaleFact:
    line = SaleLine("HEART", 2, Decimal(revenue))
    return SaleFact(
        kind, f"pay-{number}:order-analytics", str(number), at, country, "GBP", Decimal(revenue), 2, (line,)
    )  # type: ignore[arg-type]


async def count(database: Database, facts: Sequence[SaleFact]) -> None:
    async with database.transaction() as connection:
        assert not await SalesEffects().apply(connection, placed(facts))


class _Crash(Exception):
    pass


def sums_of(row: Sales) -> Sums:
    return Sums(row.orders, row.units, row.revenue, row.refunds, row.units_returned, row.refunded)


async def test_a_month_adds_up_to_the_penny_after_rollbacks_and_a_replay(database: Database) -> None:
    facts, expected, chance = facts_of(MONTH), add_up(MONTH), random.Random(5)
    late = facts[::50]
    in_time = [each for each in facts if each not in late]
    for _ in range(2):
        for start in range(0, len(in_time), 200):
            batch = in_time[start : start + 200]
            if chance.random() < 0.3:
                with suppress(_Crash):
                    async with database.transaction() as connection:
                        await SalesEffects().apply(connection, placed(batch))
                        raise _Crash
            await count(database, batch)
        await count(database, late)
    (total,) = await read_sales(database)
    assert sums_of(total) == expected.total
    assert {row.country: sums_of(row) for row in await read_sales(database, by=[By.COUNTRY])} == expected.by_country
    days = await read_sales(database, by=[By.DAY])
    assert {row.window.strftime("%Y-%m-%d"): sums_of(row) for row in days if row.window} == expected.by_day
    hours = await read_sales(database, by=[By.HOUR])
    assert sum(row.revenue for row in hours) == expected.total.revenue
    articles = await read_sales(database, by=[By.SKU])
    assert {row.sku: sums_of(row) for row in articles} == expected.by_sku
    assert {row.sku: row.units - row.units_returned for row in articles} == expected.moved


async def test_lanes_that_count_into_the_same_windows_at_once_lose_nothing(database: Database) -> None:
    facts = [fact(number, NOON + timedelta(seconds=number % 7), country=f"C{number % 3}") for number in range(400)]

    async def work(lane: list[SaleFact]) -> None:
        for start in range(0, len(lane), 10):
            await count(database, lane[start : start + 10])

    await asyncio.gather(*(work(facts[lane::4]) for lane in range(4)))
    (total,) = await read_sales(database)
    assert (total.orders, total.units, total.revenue) == (400, 800, Decimal("2000.00"))


async def test_an_event_counts_when_it_happened_and_not_when_it_came(database: Database) -> None:
    await count(database, [fact(1, NOON), fact(2, NOON + timedelta(days=1))])
    await count(database, [fact(3, NOON - timedelta(seconds=31), "1.50"), fact(4, NOON, "2.00", "refund")])
    begin = NOON.replace(second=0)
    (row,) = await read_sales(database, begin, begin + timedelta(minutes=1))
    assert (row.orders, row.revenue, row.refunds, row.refunded, row.net) == (
        1, Decimal("5.00"), 1, Decimal("2.00"), Decimal("3.00"),
    )  # fmt: skip
    (before,) = await read_sales(database, end=begin)
    assert (before.orders, before.revenue) == (1, Decimal("1.50"))
    assert await read_sales(database, begin - timedelta(days=2), begin - timedelta(days=1)) == []


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_fact_that_comes_again_counts_once_wherever_a_batch_ends(database: Database, at_once: bool) -> None:
    for batch in ([fact(1, NOON), fact(1, NOON)],) if at_once else ([fact(1, NOON)], [fact(1, NOON)]):
        await count(database, batch)
    (row,) = await read_sales(database)
    assert row.revenue == Decimal("5.00")


async def test_currencies_are_told_apart_everywhere(database: Database) -> None:
    won = Decimal(90_000)
    in_won = SaleFact("sale", "pay-9:order-analytics", "9", NOON, "Eire", "KRW", won, 1, (SaleLine("HEART", 1, won),))
    await count(database, [fact(1, NOON), in_won])
    assert [(row.currency, row.revenue) for row in await read_sales(database)] == [
        ("GBP", Decimal("5.00")), ("KRW", Decimal(90_000)),
    ]  # fmt: skip
    best = await read_sales(database, by=[By.SKU], top=1)
    assert [(row.currency, row.sku) for row in best] == [("GBP", "HEART"), ("KRW", "HEART")]


async def test_a_report_may_exceed_what_one_window_can_hold(database: Database) -> None:
    largest = "99999999999.99"
    facts = [fact(number, NOON + timedelta(minutes=number // 50), largest) for number in range(300)]
    await count(database, facts)
    (total,) = await read_sales(database)
    assert total.revenue == 300 * Decimal(largest)


async def test_a_window_that_would_leave_64_bits_is_refused_and_not_rounded(database: Database) -> None:
    with pytest.raises(DBAPIError):
        await count(database, [fact(number, NOON, "99999999999.99") for number in range(100)])
    assert await read_sales(database) == []


# -- the command -------------------------------------------------------------------------------------


@pytest.fixture
def filled(database_url: str) -> str:
    async def fill() -> None:
        async with opened(database_url) as database:
            await count(database, [fact(1, NOON), fact(2, NOON, "7.5", country="Korea"), fact(3, NOON, "1", "refund")])

    asyncio.run(fill())
    return database_url


def run(url: str, *arguments: str | Path) -> Result:
    settings.cache_clear()
    environment = {"PAYSTREAM_DATABASE__URL": url, "COLUMNS": "140"}
    return CliRunner().invoke(command, ["report", *(str(each) for each in arguments)], env=environment)


def test_a_report_is_a_table_or_csv_or_parquet_with_the_same_figures(filled: str, tmp_path: Path) -> None:
    table = run(filled, "--by", "day", "--by", "country").output
    assert "2010-12-01" in table
    assert "Korea" in table
    rows = list(csv.DictReader(io.StringIO(run(filled, "--by", "country", "--format", "csv").output)))
    assert [(row["country"], row["currency"], row["net"]) for row in rows] == [
        ("Eire", "GBP", "4.00"), ("Korea", "GBP", "7.50"),
    ]  # fmt: skip
    file = tmp_path / "report.parquet"
    assert run(filled, "--by", "country", "--format", "parquet", "--output", file).exit_code == 0
    assert [(row["country"], row["net"]) for row in pq.read_table(file).to_pylist()] == [
        ("Eire", Decimal("4.000000")), ("Korea", Decimal("7.500000")),
    ]  # fmt: skip


def test_a_report_ends_before_the_moment_given_and_counts_single_minutes(filled: str) -> None:
    assert run(filled, "--to", "2010-12-01T12:00", "--format", "csv").output.count("\n") == 1
    report = run(filled, "--from", "2010-12-01T12:00", "--to", "2010-12-01T12:01", "--by", "minute", "--format", "csv")
    assert [row["minute"] for row in csv.DictReader(io.StringIO(report.output))] == ["2010-12-01T12:00Z"]


@pytest.mark.parametrize(
    ("window", "begins"), [("day", NOON.date()), ("hour", NOON.replace(second=0)), ("minute", NOON.replace(second=0))]
)
def test_windows_in_parquet_are_dates_and_times(filled: str, tmp_path: Path, window: str, begins: object) -> None:
    file = tmp_path / "report.parquet"
    assert run(filled, "--by", window, "--format", "parquet", "--output", file).exit_code == 0
    assert [row[window] for row in pq.read_table(file).to_pylist()] == [begins]


@pytest.mark.parametrize("form", ["table", "csv", "parquet"])
def test_a_file_that_cannot_be_written_is_named(filled: str, tmp_path: Path, form: str) -> None:
    result = run(filled, "--format", form, "--output", tmp_path / "no folder" / "report")
    assert (result.exit_code, "report cannot be written: " in result.stderr) == (1, True)


def test_the_top_articles_are_those_that_brought_in_most(filled: str) -> None:
    assert "HEART" in run(filled, "--by", "sku", "--top", "1").output
    assert "Korea" in (top := run(filled, "--by", "country", "--top", "1").output)
    assert "Eire" not in top


def test_a_time_without_sales_is_an_empty_report(filled: str, tmp_path: Path) -> None:
    result = run(filled, "--from", "2011-01-01", "--to", "2011-01-02", "--format", "csv")
    assert result.output.count("\n") == 1
    file = tmp_path / "empty.parquet"
    assert run(filled, "--from", "2011-01-01", "--format", "parquet", "--output", file).exit_code == 0
    assert pq.read_table(file).num_rows == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--from", "2010-12-02", "--to", "2010-12-01"],
        ["--by", "day", "--by", "hour"],
        ["--format", "parquet"],
        ["--from", "yesterday"],
    ],
)
def test_what_makes_no_sense_is_a_usage_error(arguments: list[str]) -> None:
    assert run("sqlite:///nowhere/at/all.db", *arguments).exit_code == 2
