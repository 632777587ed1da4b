from __future__ import annotations

import asyncio
import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from io import StringIO
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiokafka import TopicPartition
from click.testing import CliRunner
from rich.console import Console
from support.online_retail import DAY as EXAMPLE
from support.online_retail import add_up

from models.dead_letter import DeadLetterView
from models.notification import NotificationRequest
from streams.commands.demo import demo
from streams.demo.account import Account, Source
from streams.demo.effects import Effects, Received
from streams.demo.expected import Due, Expected, Row, added_up, customer_of
from streams.demo.run import together, unless
from streams.demo.screen import WIDTH, Result, Screen, render
from streams.demo.surroundings import Place, demo_settings, worker_environment
from streams.demo.watching import readers_of
from streams.demo.worker import Worker
from streams.demo.world import opened
from streams.failure.errors import PaystreamError, SandboxError
from streams.invoices.files import read_files
from streams.notify.letter import write_letter
from streams.notify.mail import make_message
from streams.settings import Settings
from streams.stores.article import Article
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


ROWS = [
    Row("order", "p1:order-platform", "1", "Korea", "GBP", Decimal("7.50"), 64),
    Row("order", "p2:order-platform", "2", "Eire", "GBP", Decimal("5.00"), 2),
    Row("cancellation", "c3:cancellation-platform", "C3", "Eire", "GBP", Decimal("1.20"), 1),
    Row("order", "p4:order-platform", "4", "France", "GBP", Decimal("1.00"), 0),
    Row("order", "p5:order-platform", "5", "Norway", "GBP", Decimal("2.00"), 0),
]
EXPECTED = Expected(
    rows=Counter(ROWS),
    moved=Counter({"HEART": 64, "STAR": 1}),
    sales=added_up(ROWS),
    letters=[Due("one@home", "1", "£7.50"), Due("two@home", "2", "£5.00"), Due("two@home", "C3", "£1.20")],
)
SALES = [
    Sales(None, country, None, currency, each.orders, each.units, each.revenue, each.refunds, each.units_returned,
          each.refunded)
    for (country, currency), each in added_up(ROWS).items()
]  # fmt: skip
KOREAN = Received("one@home", "주문 1 결제가 완료되었습니다", ("£7.50 결제를", "<strong>£7.50</strong> 결제를"))
EFFECTS = Effects(
    stock=[Article("HEART", 60, 0, 4, 64), Article("STAR", 60, 59, 0, 1)],
    sales=SALES,
    letters=[
        KOREAN,
        Received("two@home", "Your order 2 is paid", ("We have received £5.00 on",)),
        Received("two@home", "Your cancellation C3", ("You are given back £1.20 in",)),
    ],
    rows=Counter(ROWS),
    files=3,
)


def result(numbers: Account, letters: list[DeadLetterView], effects: Effects = EFFECTS) -> Result:
    return Result(numbers, letters, first_seconds=0.25, all_seconds=0.5, effects=effects, expected=EXPECTED)


def test_the_final_screen_has_the_equation_a_row_for_each_topic_and_an_example_for_each_reason() -> None:
    lines = drawn(result(account(), [letter(7, "amount must be greater than 0")]))
    screen = "\n".join(lines)
    assert "3 consumed = 2 platform records + 1 dead letters, of 3 published" in screen
    assert "The numbers add up" in screen
    assert "Stock, letters, revenue and files agree with the input and with each other." in screen
    assert "0.25 s" in screen
    assert "5 rows in 3 Parquet files" in screen
    assert "65 pieces moved, 4 of them owed" in screen
    assert "3 letters sent, 1 of them in Korean" in screen
    assert "A letter from the mailbox: “주문 1 결제가 완료되었습니다”" in screen
    for topic in (PAYMENT_COMPLETED, *OUTPUTS):
        assert sum(line.startswith(f" {topic} ") for line in lines) == 1
    (row,) = [line for line in lines if "order 536407" in line]
    assert row.split() == ["1", "validate", "amount", "must", "be", "greater", "than", "0", "order", "536407"]


def test_the_screen_says_what_does_not_add_up() -> None:
    screen = "\n".join(drawn(result(account(analytics_sales="a"), [])))
    assert "The numbers do not add up" in screen
    assert "✗ analytics.sales: 1 missing (b)" in screen


def test_the_countries_with_the_highest_net_are_shown_and_the_total_is_that_of_all() -> None:
    lines = drawn(result(account(), []))
    begin = next(number for number, line in enumerate(lines) if line.startswith(" revenue by country"))
    rows = [line.split() for line in lines[begin + 2 : begin + 6]]
    assert rows == [
        ["Korea", "1", "7.50", "GBP", "0", "0", "7.50"],
        ["Eire", "1", "5.00", "GBP", "1", "1.20", "3.80"],
        ["2", "others", "2", "3.00", "GBP", "0", "0", "3.00"],
        ["all", "countries", "4", "15.50", "GBP", "1", "1.20", "14.30"],
    ]


@pytest.mark.parametrize(
    ("others", "totals"),
    [
        (["KRW"], ["all in KRW 1 9 KRW 0 0 9", "all in GBP 4 15.50 GBP 1 1.20 14.30"]),
        (["KRW", "EUR"], ["all, in 3 currencies 6 1"]),
    ],
)
def test_money_of_different_currencies_is_never_added(others: list[str], totals: list[str]) -> None:
    foreign = [Sales(None, "Far", None, each, 1, 1, Decimal(9), 0, 0, Decimal(0)) for each in others]
    lines = drawn(result(account(), [], replace(EFFECTS, sales=[*SALES, *foreign])))
    assert [" ".join(line.split()) for line in lines if line.startswith(" all")] == totals


@pytest.mark.parametrize("width", [80, 100])
def test_what_became_of_the_records_is_shown_whole(width: int) -> None:
    many = replace(EFFECTS, stock=[Article("HEART", 60, 0, 26_676, 26_736)])
    lines = drawn(result(account(), [], many), width)
    assert max(map(len, lines)) <= width
    header = next(number for number, line in enumerate(lines) if line.startswith(" topic"))
    begin = next(line.index("what for") for line in lines if "what for" in line)
    end = lines[header].index("records")
    made = " ".join(line[begin:end].strip() for line in lines[: header + 16])
    for wanted in (
        "what for, and what became of it",
        "what the shop writes when an order is paid",
        "5 rows in 3 Parquet files",
        "3 letters sent, 1 of them in Korean",
        "26,736 pieces moved, 26,676 of them owed",
        "revenue by country: see below",
        "what could not be processed, and why",
    ):
        assert wanted in made


def with_amounts(change: Callable[[Decimal], Decimal]) -> Effects:
    return replace(EFFECTS, rows=Counter(replace(row, amount=change(row.amount)) for row in ROWS))


def with_letters(*letters: Received) -> Effects:
    return replace(EFFECTS, letters=[*letters, *EFFECTS.letters[1:]])


REFUNDS_AS_NEGATIVE_REVENUE = [
    replace(each, orders=each.orders + each.refunds, revenue=each.net, refunds=0, refunded=Decimal(0)) for each in SALES
]


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        pytest.param(
            replace(EFFECTS, stock=[Article("HEART", 60, 60, 4, 64), EFFECTS.stock[1]]),
            "stock: 1 articles have not what is left after what was moved (HEART: 60 - 64 moved, but 60 on hand",
            id="the shelf is as full as before",
        ),
        pytest.param(
            replace(EFFECTS, stock=[EFFECTS.stock[0], Article("STAR", 60, 60, 1, 1)]),
            "stock: 1 articles have not what is left after what was moved (STAR: ",
            id="a piece is owed although it is there",
        ),
        pytest.param(
            replace(EFFECTS, stock=[Article("HEART", 60, 0, 3, 63), EFFECTS.stock[1]]),
            "stock: 64 pieces were moved, but orders have 65 (HEART)",
            id="too few are moved",
        ),
        pytest.param(
            replace(EFFECTS, stock=[Article("HEART", 60, 59, 0, 1), Article("STAR", 60, 0, 4, 64)]),
            "stock: 65 pieces were moved, but orders have 65 (HEART, STAR)",
            id="as many are moved, of other articles",
        ),
        pytest.param(
            replace(EFFECTS, sales=SALES[1:]),
            "analytics: 3 figures are not those of the orders (revenue of Korea in GBP: 0 rather than 7.50, …)",
            id="a country is missing",
        ),
        pytest.param(
            replace(EFFECTS, sales=REFUNDS_AS_NEGATIVE_REVENUE),
            "analytics: 4 figures are not those of the orders (revenue of Eire in GBP: 3.80 rather than 5.00, …)",
            id="a refund is booked as negative revenue",
        ),
        pytest.param(
            with_letters(),
            "letters: 1 missing (1 to one@home)",
            id="a letter is missing",
        ),
        pytest.param(
            with_letters(KOREAN, KOREAN),
            "letters: 1 too many (1 to one@home)",
            id="a letter comes twice",
        ),
        pytest.param(
            replace(EFFECTS, letters=[replace(each, recipient="thief@home") for each in EFFECTS.letters]),
            "letters: 3 too many (1 to thief@home, 2 to thief@home, C3 to thief@home)",
            id="all letters go to somebody else",
        ),
        pytest.param(
            replace(EFFECTS, letters=[replace(each, texts=("We have received £0.00 on",)) for each in EFFECTS.letters]),
            "letters: 3 do not state the amount (1: £7.50, 2: £5.00, C3: £1.20)",
            id="letters state nothing",
        ),
        pytest.param(
            with_letters(replace(KOREAN, texts=("£7.50 결제를", "<strong>£7.500</strong>"))),
            "letters: 1 do not state the amount (1: £7.50)",
            id="one form of a letter states another amount",
        ),
        pytest.param(
            replace(EFFECTS, rows=Counter([*ROWS, ROWS[0]])),
            "files: 1 too many (order 1 of 7.5 GBP in Korea)",
            id="a row is doubled",
        ),
        pytest.param(
            with_amounts(lambda amount: 2 * amount),
            "files: 5 missing (cancellation C3 of 1.2 GBP in Eire, order 1 of 7.5 GBP in Korea",
            id="amounts in files are doubled",
        ),
        pytest.param(
            with_amounts(lambda amount: 2 * amount),
            "files: 5 figures are not those of analytics (revenue of Eire in GBP: 10.00 rather than 5.00, …)",
            id="files and analytics disagree",
        ),
        pytest.param(
            replace(EFFECTS, rows=Counter(replace(row, country="Eire") for row in ROWS)),
            "files: 10 figures are not those of analytics (revenue of Eire in GBP: 15.50 rather than 5.00, …)",
            id="files have another country",
        ),
    ],
)
def test_what_the_four_have_made_of_it_must_be_what_the_orders_say(wrong: Effects, problem: str) -> None:
    assert EFFECTS.problems(EXPECTED) == ()
    assert any(each.startswith(problem) for each in wrong.problems(EXPECTED)), wrong.problems(EXPECTED)
    screen = "\n".join(drawn(result(account(), [], wrong)))
    assert "The numbers do not add up" in screen
    assert "agree with the input" not in screen


def test_five_faults_at_once_are_all_named() -> None:
    wrong = Effects(
        stock=[replace(each, on_hand=60) for each in EFFECTS.stock],
        sales=REFUNDS_AS_NEGATIVE_REVENUE,
        letters=[replace(each, recipient="thief@home", texts=("£0.00",)) for each in EFFECTS.letters],
        rows=with_amounts(lambda amount: 2 * amount).rows,
        files=3,
    )
    screen = drawn(result(account(), [], wrong))
    marks = [line for line in screen if line.startswith("│ ✗ ")]
    assert [line.removeprefix("│ ✗ ").split(" (")[0].rstrip(" │") for line in marks] == [
        "stock: 2 articles have not what is left after what was moved",
        "analytics: 4 figures are not those of the orders",
        "letters: 3 missing",
        "letters: 3 too many",
        "letters: 3 do not state the amount",
        "files: 5 missing",
        "files: 5 too many",
        "files: 7 figures are not those of analytics",
    ]


def test_files_that_lose_a_row_and_analytics_that_lose_it_too_agree_and_are_still_wrong() -> None:
    wrong = replace(EFFECTS, sales=SALES[1:], rows=Counter(ROWS[1:]))
    areas = [each.partition(":")[0] for each in wrong.problems(EXPECTED)]
    assert areas == ["analytics", "files"]


def test_what_is_expected_is_the_input_added_up_and_a_repeat_counts_once() -> None:
    events = read_files([EXAMPLE]).events
    expected, plain = Expected.of([*events, *events]), add_up(EXAMPLE)
    assert {row.order_id for row in expected.rows} == plain.orders
    assert set(expected.rows.values()) == {2}, "published twice, so to be found twice"
    assert {sku: pieces for sku, pieces in plain.moved.items() if pieces} == {
        sku: pieces for sku, pieces in expected.moved.items() if pieces
    }
    assert {
        country: (each.orders, each.units, each.revenue, each.refunds, each.returned, each.refunded)
        for country, each in plain.by_country.items()
    } == {
        country: (each.orders, each.units, each.revenue, each.refunds, each.units_returned, each.refunded)
        for (country, _), each in expected.sales.items()
    }
    assert Counter((each.order_id, each.recipient) for each in expected.letters) == Counter(
        (order, customer_of(customer).address) for order, customer in plain.customer_of.items()
    )


@pytest.mark.parametrize(("locale", "is_korean"), [("ko", True), ("en_GB", False)])
def test_a_letter_as_it_is_sent_names_its_order_and_states_its_amount_in_each_form(
    locale: str, is_korean: bool
) -> None:
    request = NotificationRequest(
        "p1:order-notification", "536 & 1", "17850", "payment-completed", "GBP", Decimal("1139.12"),
        datetime(2010, 12, 1, tzinfo=timezone.utc), "United Kingdom",
    )  # fmt: skip
    sent = make_message("shop@shop.example", request.request_id, "one@home.example", write_letter(request, locale))
    letter = message_from_bytes(sent.as_bytes(), policy=default)
    assert isinstance(letter, EmailMessage)
    received = opened(letter)
    assert received.recipient == "one@home.example"
    assert len(received.texts) == 2
    assert received.names("536 & 1")
    assert not received.names("53")
    assert received.states("£1,139.12")
    assert not received.states("£1,139.1")
    assert received.is_korean == is_korean


def test_the_screen_fits_however_many_reasons_there_are_and_however_long() -> None:
    lines = drawn(result(account(), [letter(number, f"reason {number} " * 40) for number in range(60)]))
    before = 11  # the introduction and the steps
    assert len(lines) <= 40 - before
    assert max(map(len, lines)) <= WIDTH
    assert any("for 57 other reasons" in line for line in lines)


def test_the_invitation_leads_other_commands_to_the_demo() -> None:
    console = Console(file=StringIO(), width=WIDTH, highlight=False)
    settings = demo_settings(Place("127.0.0.1:1", 1, 8080, Path("/tmp/a folder [x]"), 2525))
    Screen(console).invite(result(account(), [letter(7, "none")]), settings, "paystream")
    assert isinstance(console.file, StringIO)
    lines = [line.strip() for line in console.file.getvalue().splitlines()]
    exports = [line.removeprefix("export ") for line in lines if line.startswith("export ")]
    assert dict(each.split("=", 1) for line in exports for each in shlex.split(line)) == {
        "PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "PAYSTREAM_DATABASE__URL": "sqlite:////tmp/a folder [x]/paystream.db",
        "PAYSTREAM_PLATFORM__FOLDER": "/tmp/a folder [x]/platform",
        "PAYSTREAM_WEB__PORT": "8080",
    }
    assert "The platform's Parquet files: /tmp/a folder [x]/platform" in lines
    assert "paystream platform check" in lines
    assert "paystream lanes list" in lines


def test_the_help_says_all_that_is_compared() -> None:
    said = " ".join(CliRunner().invoke(demo, ["--help"]).output.split())
    assert "Stock, letters, revenue and Parquet files are compared with the orders, too" in said


def test_a_topic_that_nobody_has_described_is_shown_all_the_same() -> None:
    known = account()
    further = Source("payment.further", Counter("xy"), "payment.further.DLT", Counter())
    (row,) = [
        line
        for line in drawn(result(replace(known, sources=(*known.sources, further)), []))
        if "payment.further" in line
    ]
    assert row.split() == ["payment.further", "what", "the", "shop", "writes,", "too", "2"]


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


async def test_it_is_the_worker_that_says_which_groups_read_a_topic() -> None:
    lanes: list[dict[str, object]] = []

    async def status(request: web.Request) -> web.Response:
        """Have one lane more each time."""
        lanes.append({"group": f"group {len(lanes) % 2}", "topic": "orders", "partition": len(lanes)})
        return web.json_response({"lanes": [*lanes, {"group": "other", "topic": "others", "partition": 0}]})

    app = web.Application()
    app.router.add_get("/status/", status)
    async with TestServer(app) as server:
        readers = await readers_of(
            str(server.make_url("")).rstrip("/"), [TopicPartition("orders", n) for n in range(3)]
        )
    assert readers == {
        "group 0": [TopicPartition("orders", 0), TopicPartition("orders", 2)],
        "group 1": [TopicPartition("orders", 1)],
    }


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
