from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

import streams.compare.run
from examples.in_process_events.faults import VARIABLE, Busy, Refused
from examples.in_process_events.faults import Faults as ShopFaults
from streams.commands.compare import compare
from streams.commands.demo import EXAMPLE
from streams.compare.in_process import InProcess
from streams.compare.outcome import SYSTEMS, Comparison, Kept, Killed, Newcomer, Outcome, Waited, Way
from streams.compare.pipeline import trail_of
from streams.compare.plan import FEWEST, MOST, Faults, choose_faults, read_orders
from streams.compare.shop import read_lines
from streams.compare.table import introduction, render
from streams.delivery import Record
from streams.demo.screen import WIDTH, Screen
from streams.failure.errors import InputError


def outcome(paid: str = "abc", everywhere: str = "abc", kept: str = "", struck: str = "", **told: str) -> Outcome:
    """Orders are letters; every system is told the same unless said otherwise."""
    return Outcome(
        Counter(paid),
        {system: Counter(told.get(system, everywhere)) for system in SYSTEMS},
        tuple(Kept(order, f"payment.completed.DLT-0@{number}", "no [red]way", 1) for number, order in enumerate(kept)),
        frozenset(struck),
    )


# -- what was found --------------------------------------------------------------------------------


def test_an_order_that_every_system_was_told_of_once_is_neither_lost_nor_doubled() -> None:
    found = outcome()
    assert (found.found, found.lost, found.doubled, found.incomplete()) == (12, 0, 0, [])


def test_an_effect_that_is_missing_is_lost_and_makes_its_order_incomplete() -> None:
    found = outcome(notification="ac", inventory="bc")
    assert (found.lost, found.doubled) == (2, 0)
    assert found.incomplete() == ["a", "b"]
    assert {system: sorted(orders) for system, orders in found.missing().items() if orders} == {
        "notification": ["b"],
        "inventory": ["a"],
    }


def test_an_order_that_is_kept_with_its_reason_is_not_lost() -> None:
    found = outcome(everywhere="ab", kept="c")
    assert (found.lost, found.doubled, found.incomplete()) == (0, 0, [])


def test_an_order_that_is_kept_and_told_as_well_is_doubled() -> None:
    assert outcome(everywhere="ab", analytics="abc", kept="c").doubled == 1


def test_counts_that_agree_do_not_hide_that_one_is_lost_and_another_doubled() -> None:
    found = outcome(everywhere="aab")
    assert (found.found, found.lost, found.doubled) == (12, 4, 4)


def test_an_order_has_recovered_when_it_failed_and_everybody_was_told_all_the_same() -> None:
    assert outcome(everywhere="ab", kept="c", struck="bc").recovered() == ["b"]
    assert outcome(notification="ac", struck="b").recovered() == []


def test_of_the_times_the_median_and_the_slowest_are_shown() -> None:
    assert Waited.of([1.0, 9.0, 2.0]) == Waited(2.0, 9.0)


# -- the verdict -----------------------------------------------------------------------------------


def way(name: str = "paystream", **changes: object) -> Way:
    ours = Way(
        name,
        calm=outcome(),
        waited=Waited(2.125, 13.4),
        faulty=outcome(everywhere="ab", kept="c", struck="bc"),
        killed=Killed(outcome(), in_hand=2, caught_up=2.31),
        newcomer=Newcomer(past=2, received=2, new=1),
        trail=("payment.completed-2@78: pay-a",),
    )
    return replace(ours, **changes)  # type: ignore[arg-type]


def old() -> Way:
    return way(
        "in-process",
        faulty=outcome(notification="a", struck="bc"),
        killed=Killed(outcome(everywhere="ab", platform="abc"), in_hand=1),
        newcomer=Newcomer(past=2, received=0, new=1),
        trail=(),
    )


def comparison(ours: Way | None = None) -> Comparison:
    return Comparison(3, 50.0, frozenset("c"), "a", (old(), old()), ours or way())


def test_paystream_has_kept_its_promise_when_nothing_is_lost_or_doubled() -> None:
    assert comparison().problems() == ()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"calm": outcome(analytics="ab")}, "slow: 1 effects are lost, of c"),
        ({"faulty": outcome(everywhere="ab")}, "failing: 4 effects are lost, of c"),
        ({"faulty": outcome(everywhere="a", kept="bc")}, "failing: given up without need: b"),
        ({"killed": Killed(outcome(platform="abbc"), 1)}, "killed: 1 effects are doubled, of b"),
        ({"killed": Killed(outcome(everywhere="ab", kept="c"), 1)}, "killed: given up without need: c"),
        ({"calm": outcome(paid="ab", everywhere="ab")}, "slow: 2 of 3 orders were paid"),
        ({"newcomer": Newcomer(2, 1, 1)}, "newcomer: it got 1 of 2 past orders"),
    ],
)
def test_whatever_paystream_loses_doubles_or_gives_up_without_need_is_named(
    changes: Mapping[str, object], problem: str
) -> None:
    assert comparison(way(**changes)).problems() == (problem,)


def test_what_the_old_way_loses_is_not_paystreams_fault() -> None:
    assert old().killed.outcome.lost == 3
    assert comparison().problems() == ()


# -- the table -------------------------------------------------------------------------------------


def drawn(results: Comparison) -> str:
    console = Console(file=StringIO(), width=WIDTH, highlight=False)
    console.print(introduction("What is in a.csv"))
    console.print(render(results))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_table_shows_each_number_that_was_measured_and_fits() -> None:
    screen = drawn(comparison())
    assert max(map(len, screen.splitlines())) <= WIDTH
    for said in ("12 of 12", "2.1 ms", "(slowest 13 ms)", "2 notification", "1 orders recovered", "1 kept", "0 of 3",
                 "1 of 3", "(2 in hand)", "done after 2.3 s", "2 of 2", "0 of 2"):  # fmt: skip
        assert said in screen
    assert "payment.completed-2@78: pay-a" in screen
    assert "payment.completed.DLT-0@0: order c: no [red]way" in screen
    assert "of 36 in three runs: in-process 5 · in-process 5 · paystream 0" in screen


def test_the_table_says_where_paystream_did_not_keep_its_promise() -> None:
    screen = drawn(comparison(way(calm=outcome(analytics="ab"))))
    assert "did not keep its promise" in screen
    assert "✗ slow: 1 effects are lost, of c" in screen
    assert "lost nothing" not in screen


def test_results_for_scripts_are_the_same_numbers() -> None:
    results = json.loads(json.dumps(comparison().as_json()))
    assert results["problems"] == []
    assert list(results["ways"]) == ["in-process", "paystream"]
    ours = results["ways"]["paystream"]
    assert ours["waited_ms"] == {"median": 2.125, "slowest": 13.4}
    assert ours["faulty"]["orders_recovered"] == ["b"]
    assert ours["faulty"]["orders_kept"][0]["reason"] == "no [red]way"
    assert ours["killed"]["in_hand"] == 2
    assert results["ways"]["in-process"]["killed"]["orders_incomplete"] == ["c"]


@pytest.mark.parametrize(("ours", "status"), [(way(), 0), (way(calm=outcome(platform="aabc")), 1)])
def test_the_command_ends_with_status_1_if_paystream_lost_or_doubled_anything(
    monkeypatch: pytest.MonkeyPatch, ours: Way, status: int
) -> None:
    async def measured(path: Path, screen: Screen) -> Comparison:
        return comparison(ours)

    monkeypatch.setattr(streams.compare.run, "compare_ways", measured)
    assert CliRunner().invoke(compare, ["--orders", "a.csv"]).exit_code == status


# -- orders and faults -----------------------------------------------------------------------------


def test_the_example_gives_its_valid_orders_each_once() -> None:
    ids = [order.id for order in read_orders(EXAMPLE)]
    assert len(ids) == len(set(ids)) == 127


def test_a_long_file_is_cut_and_a_short_one_refused(tmp_path: Path) -> None:
    body = json.loads(read_orders(EXAMPLE)[0].body)
    lines = [json.dumps({**body, "orderId": f"o{number}"}) for number in range(MOST + 5)]
    file = tmp_path / "orders.jsonl"
    file.write_text("\n".join([*lines, ""]))
    assert len(read_orders(file)) == MOST
    file.write_text("\n".join([*lines[: FEWEST - 1], lines[0], ""]))
    with pytest.raises(InputError, match=r"holds 19 valid orders; a comparison needs 20"):
        read_orders(file)


def test_some_orders_fail_once_and_others_always_even_of_the_fewest() -> None:
    orders = read_orders(EXAMPLE)
    for count in (FEWEST, len(orders)):
        faults = choose_faults(orders[:count])
        assert faults.busy
        assert faults.refused
        assert not faults.busy & faults.refused


def test_the_shop_understands_the_faults_it_is_told(tmp_path: Path) -> None:
    told = Faults(0.25, frozenset(["1"]), frozenset(["2"])).variable(tmp_path / "faults.jsonl")
    assert list(told) == [VARIABLE]
    faults = ShopFaults.read(told)
    with pytest.raises(Busy):
        faults.check("1")
    with pytest.raises(Refused):
        faults.check("2")
    faults.close()
    assert faults.delay == 0.25
    assert [line["orderId"] for line in read_lines(tmp_path / "faults.jsonl")] == ["1", "2"]


def test_a_line_that_was_cut_off_by_a_kill_is_no_line(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    assert read_lines(file) == []
    file.write_bytes(b'{"orderId": "1"}\n{"order')
    assert read_lines(file) == [{"orderId": "1"}]


# -- where an order is -----------------------------------------------------------------------------


def record(topic: str, offset: int, **headers: str) -> Record:
    return Record(
        topic, 2, offset, 0, 0, b"7", b"{}", [(f"ce_{name}", text.encode()) for name, text in headers.items()]
    )


def test_an_order_is_found_by_its_headers_with_what_each_event_followed_from() -> None:
    records = [
        record("platform.orders", 5, id="pay-7:order-platform", correlationid="7", causationid="pay-7", subject="7"),
        record("payment.completed", 3, id="pay-7", subject="7"),
        record("payment.completed", 4, id="pay-8", subject="8"),
        record("platform.orders", 6),
    ]
    assert trail_of(records, "7") == [
        "payment.completed-2@3: pay-7",
        "platform.orders-2@5: pay-7:order-platform, caused by pay-7",
    ]


# -- the old way, in processes of its own ------------------------------------------------------------


async def test_a_shop_that_is_killed_loses_what_was_queued_and_takes_the_other_orders_after_its_restart(
    tmp_path: Path,
) -> None:
    orders = read_orders(EXAMPLE)[:FEWEST]
    killed = await InProcess("old", tmp_path, orders, "--asynchronous").killed(delay=0.3)
    found = killed.outcome
    assert found.paid == Counter(order.id for order in orders)
    assert found.doubled == 0
    assert found.lost > 0
    # Restarted, it knows nothing of what it had in hand.
    assert len(found.incomplete()) == killed.in_hand > 0
