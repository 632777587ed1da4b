from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from support.online_retail import DAY as EXAMPLE
from support.online_retail import add_up

from models.dead_letter import DeadLetterView
from streams.demo.account import Account, Source
from streams.demo.effects import Effects, Expected
from streams.demo.run import together, unless
from streams.demo.screen import WIDTH, Result, Screen, render
from streams.demo.surroundings import Place, demo_settings, worker_environment
from streams.demo.worker import Worker
from streams.failure.errors import PaystreamError, SandboxError
from streams.invoices.files import read_files
from streams.settings import Settings
from streams.stores.sales_report import Sales
from streams.topics import OUTPUTS, PAYMENT_COMPLETED


def account(
    published: str = "abc", dead: str = "c", consumed: int | None = None, everywhere: str = "ab", **outputs: str
) -> Account:
    """Orders are letters; every output holds the same unless told otherwise, with underscores for dots."""
    return Account(
        (Source(PAYMENT_COMPLETED, Counter(published), PAYMENT_COMPLETED + ".DLT", Counter(dead)),),
        len(published) if consumed is None else consumed,
        {topic: Counter(outputs.get(topic.replace(".", "_"), everywhere)) for topic in OUTPUTS},
    )


# -- the numbers -----------------------------------------------------------------------------------


def test_the_numbers_add_up_when_every_order_is_in_one_place_exactly_once() -> None:
    assert account().problems() == ()


def test_an_order_published_twice_must_be_found_twice() -> None:
    assert account("aabc", everywhere="aab").problems() == ()
    assert account("aabc").problems() == (
        "4 were consumed, but 2 platform records and 1 dead letters make 3",
        "platform and dead letters: 1 missing (a)",
    )


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (account(consumed=2), "3 orders were published, but 2 consumed"),
        (account(dead=""), "3 were consumed, but 2 platform records and 0 dead letters make 2"),
        (account(dead=""), "platform and dead letters: 1 missing (c)"),
        (account(dead="ca"), "platform and dead letters: 1 too many (a)"),
        (account(platform_orders="abb"), "platform and dead letters: 1 too many (b)"),
        (account(platform_orders="ax"), "platform and dead letters: 1 missing (b)"),
        (account(platform_orders="ax"), "platform and dead letters: 1 too many (x)"),
        (account(notification_requests="a"), "notification.requests: 1 missing (b)"),
        (account(inventory_movements="abb"), "inventory.movements: 1 too many (b)"),
        (account(analytics_sales=""), "analytics.sales: 2 missing (a, b)"),
        (account(analytics_sales="abc"), "analytics.sales: 1 too many (c)"),
    ],
)
def test_whatever_is_lost_or_doubled_is_named(wrong: Account, problem: str) -> None:
    assert problem in wrong.problems()


def test_counts_that_agree_do_not_hide_that_the_orders_differ() -> None:
    # As many everywhere as there should be: only the orders themselves give it away.
    assert account(analytics_sales="aa").problems() == (
        "analytics.sales: 1 missing (b)",
        "analytics.sales: 1 too many (a)",
    )


def test_many_orders_are_counted_and_three_of_them_named() -> None:
    (problem,) = [each for each in account("abcdefg", dead="").problems() if "missing" in each]
    assert problem == "platform and dead letters: 5 missing (c, d, e, …)"


# -- the screen ------------------------------------------------------------------------------------


def letter(number: int, reason: str) -> DeadLetterView:
    return DeadLetterView(
        topic="payment.completed.DLT", partition=0, offset=number, order_id=f"5364{number:02}",
        stage="validate", reason=reason, fingerprint=reason,
    )  # fmt: skip


def drawn(result: Result, width: int = WIDTH) -> list[str]:
    console = Console(file=StringIO(), width=width, highlight=False)
    console.print(render(result))
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


SALES = [
    Sales(None, country, None, "GBP", 1, 2, Decimal(net), 0, 0, Decimal(0))
    for country, net in (("Eire", "5.00"), ("Korea", "7.00"), ("France", "1.00"), ("Norway", "2.00"))
]
EXPECTED = Expected(
    Counter("ab"), Counter({"HEART": 6}), {(each.country or "", "GBP"): each.revenue for each in SALES}, {"one", "two"}
)
EFFECTS = Effects(Counter({"HEART": 6}), 2, SALES, 2, 1, "주문 1 결제", Counter("ab"), 3)


def result(numbers: Account, letters: list[DeadLetterView], effects: Effects = EFFECTS) -> Result:
    return Result(numbers, letters, first_seconds=0.25, all_seconds=0.5, effects=effects, expected=EXPECTED)


def test_the_final_screen_has_the_equation_a_row_for_each_topic_and_an_example_for_each_reason() -> None:
    lines = drawn(result(account(), [letter(7, "amount must be greater than 0")]))
    screen = "\n".join(lines)
    assert "3 consumed = 2 platform records + 1 dead letters, of 3 published" in screen
    assert "The numbers add up" in screen
    assert "0.25 s" in screen
    assert "2 rows in 3 Parquet files" in screen
    assert "6 pieces moved, 2 of them owed" in screen
    assert "2 letters sent, 1 of them in Korean" in screen
    assert "A letter from the mailbox: “주문 1 결제”" in screen
    countries = [line.split()[0] for line in lines if " GBP " in line]
    assert countries == ["Korea", "Eire", "Norway"], "the highest first"
    for topic in (PAYMENT_COMPLETED, *OUTPUTS):
        assert sum(line.startswith(f" {topic} ") for line in lines) == 1
    (row,) = [line for line in lines if "order 536407" in line]
    assert row.split() == ["1", "validate", "amount", "must", "be", "greater", "than", "0", "order", "536407"]


def test_the_screen_says_what_does_not_add_up() -> None:
    screen = "\n".join(drawn(result(account(analytics_sales="a"), [])))
    assert "The numbers do not add up" in screen
    assert "✗ analytics.sales: 1 missing (b)" in screen


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (replace(EFFECTS, moved=Counter({"HEART": 5})), "stock: 5 pieces were moved, but orders have 6"),
        (replace(EFFECTS, sales=SALES[1:]), "analytics: 10.00 were counted, but orders make 15.00"),
        (replace(EFFECTS, letters=3), "notification: 3 letters were sent, but 2 are due"),
        (replace(EFFECTS, rows=Counter("abb")), "platform: 3 rows in files, but 2 orders"),
    ],
)
def test_what_the_four_have_made_of_it_must_be_what_the_orders_say(wrong: Effects, problem: str) -> None:
    screen = "\n".join(drawn(result(account(), [], wrong)))
    assert "The numbers do not add up" in screen
    assert f"✗ {problem}" in screen
    assert EFFECTS.problems(EXPECTED) == ()


def test_what_is_expected_is_the_input_added_up_and_a_repeat_counts_once() -> None:
    events = read_files([EXAMPLE]).events
    expected, plain = Expected.of([*events, *events]), add_up(EXAMPLE)
    assert set(expected.orders) == plain.orders
    assert set(expected.orders.values()) == {2}, "published twice, so to be found twice"
    assert {sku: pieces for sku, pieces in plain.moved.items() if pieces} == {
        sku: pieces for sku, pieces in expected.moved.items() if pieces
    }
    assert sum(expected.revenue.values()) == plain.total.revenue - plain.total.refunded
    assert len(expected.letters) == len(plain.customer_of)


def test_the_screen_fits_however_many_reasons_there_are_and_however_long() -> None:
    lines = drawn(result(account(), [letter(number, f"reason {number} " * 40) for number in range(60)]))
    before = 11  # the introduction and the steps
    assert len(lines) <= 40 - before
    assert max(map(len, lines)) <= WIDTH
    assert any("for 57 other reasons" in line for line in lines)


def test_what_was_sent_is_shown_as_text_and_obeyed_by_nobody() -> None:
    lines = drawn(result(account(), [letter(1, "[red]no[/red] \x1b[2J :bomb:")]))
    assert any(r"[red]no[/red] \x1b[2J :bomb:" in line for line in lines)


def test_without_a_terminal_a_step_is_one_line_with_its_duration() -> None:
    console = Console(file=StringIO(), width=300, highlight=False)
    screen = Screen(console)
    with screen.step("doing") as step:
        step.on_progress("half of it")
        step.done = "done"
    with pytest.raises(SandboxError), screen.step("failing"):
        raise SandboxError
    assert isinstance(console.file, StringIO)
    (line,) = console.file.getvalue().splitlines()
    assert line.split() == ["✓", "done", "0.0", "s"]
    assert len(line) <= WIDTH


# -- its own little world --------------------------------------------------------------------------


def test_settings_from_outside_reach_neither_the_demo_nor_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS", "production:9092")
    monkeypatch.setenv("PAYSTREAM_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("PAYSTREAM_APP_ID", "production")
    settings = demo_settings(Place("127.0.0.1:1234", 1, 8080))
    assert settings.kafka.bootstrap_servers == "127.0.0.1:1234"
    assert settings.kafka.security_protocol == "PLAINTEXT"
    assert settings.app_id == "paystream"
    environment = worker_environment(Place("127.0.0.1:1234", 1, 8080))
    assert not [name for name, value in environment.items() if "production" in value or "SASL" in value]


@pytest.mark.parametrize(("brokers", "replication", "in_sync"), [(1, 1, 1), (2, 2, 1), (3, 3, 2), (5, 3, 2)])
def test_the_worker_has_the_settings_of_the_demo(
    monkeypatch: pytest.MonkeyPatch, brokers: int, replication: int, in_sync: int
) -> None:
    place = Place("127.0.0.1:1,127.0.0.1:2", brokers, 8080, Path("/somewhere"), 2525)
    for name, value in worker_environment(place).items():
        monkeypatch.setenv(name, value)
    settings = demo_settings(place)
    assert settings.model_dump() == Settings().model_dump()
    assert (settings.topics.replication, settings.topics.min_insync_replicas) == (replication, in_sync)
    assert settings.web.port == 8080


async def test_a_worker_that_dies_is_reported_with_its_status_and_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    broken = worker_environment(Place("127.0.0.1:1", 1, 0)) | {"PAYSTREAM_DELIVERY__CONCURRENCY": "none"}
    async with Worker(log, broken) as worker:
        death = await worker.death()
    assert "ended with status 78" in str(death)
    assert "PAYSTREAM_DELIVERY__CONCURRENCY" in str(death)
    assert str(log) in str(death)


# -- ending together -------------------------------------------------------------------------------


async def forever(ended: list[str], name: str) -> Exception:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append(name)
    raise AssertionError


async def test_work_that_is_done_in_time_is_returned_and_nobody_waits_for_a_death_any_more() -> None:
    ended: list[str] = []

    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await unless(work(), forever(ended, "a"), forever(ended, "b")) == 7
    assert sorted(ended) == ["a", "b"]


async def test_a_death_ends_the_work_and_is_raised() -> None:
    ended: list[str] = []

    async def death() -> Exception:
        await asyncio.sleep(0)
        return PaystreamError("dead")

    with pytest.raises(PaystreamError, match="dead"):
        await unless(forever(ended, "work"), death(), forever(ended, "other"))
    assert sorted(ended) == ["other", "work"]


async def test_of_two_that_work_together_one_that_fails_ends_the_other() -> None:
    ended: list[str] = []

    async def fails() -> None:
        await asyncio.sleep(0)
        raise PaystreamError("failed")

    other = asyncio.ensure_future(forever(ended, "other"))
    with pytest.raises(PaystreamError, match="failed"):
        await together(fails(), other)
    assert ended == ["other"]
