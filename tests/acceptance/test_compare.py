"""The comparison as a script runs it: once, whole, with real processes, kills and a real Kafka."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.payments import order

COMMAND = [sys.executable, "-c", "from streams.commands.compare import compare; compare(prog_name='paystream compare')"]
PATIENCE = 180.0
ORDERS, REFUSED, STRUCK = 127, 3, 8
"""What is valid in the example, and how many of it are struck: ``choose_faults``."""
OLD = ("in-process", "in-process, @Async")

Results = dict[str, Any]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("temporary")
    # A shell that is set up for production must not be reached.
    environment = {**os.environ, "TMPDIR": str(folder), "PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    done = subprocess.run(
        [*COMMAND, "--json"], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("✓") == 8
    assert list(folder.iterdir()) == []
    found: Results = json.loads(done.stdout)
    assert found["problems"] == []
    assert found["orders"] == ORDERS
    return found


def test_where_nothing_fails_no_way_loses_or_doubles_anything(results: Results) -> None:
    for way in results["ways"].values():
        assert way["calm"]["effects_found"] == 4 * ORDERS
        assert way["calm"]["effects_doubled"] == 0
        assert way["calm"]["orders_incomplete"] == []


def test_only_with_synchronous_listeners_does_the_shop_wait_for_a_slow_one(results: Results) -> None:
    waited = {name: way["waited_ms"]["median"] for name, way in results["ways"].items()}
    assert waited["in-process"] >= results["delay_ms"]
    assert waited["in-process, @Async"] < results["delay_ms"]
    assert waited["paystream"] < results["delay_ms"]


def test_a_failure_in_process_is_never_made_good_and_costs_the_later_listeners_their_event(results: Results) -> None:
    lost = {name: results["ways"][name]["faulty"]["effects_lost"] for name in OLD}
    assert lost == {
        "in-process": {"platform": 0, "notification": STRUCK, "inventory": STRUCK, "analytics": STRUCK},
        "in-process, @Async": {"platform": 0, "notification": STRUCK, "inventory": 0, "analytics": 0},
    }
    for name in OLD:
        assert results["ways"][name]["faulty"]["orders_recovered"] == []
        assert results["ways"][name]["faulty"]["orders_kept"] == []


def test_paystream_tries_again_and_keeps_what_cannot_be_done_with_its_reason(results: Results) -> None:
    faulty = results["ways"]["paystream"]["faulty"]
    assert len(faulty["orders_struck"]) == STRUCK
    assert len(faulty["orders_recovered"]) == STRUCK - REFUSED
    assert set(faulty["effects_lost"].values()) == {0}
    kept = {each["order"]: each for each in faulty["orders_kept"]}
    assert set(kept) == set(faulty["orders_struck"]) - set(faulty["orders_recovered"])
    for each in kept.values():
        assert each["reason"] == "the mail server does not know this recipient"
        assert each["place"].startswith("payment.completed.DLT-")


def test_sigkill_loses_orders_in_process_and_none_with_paystream_which_had_some_in_hand(results: Results) -> None:
    killed = {name: way["killed"] for name, way in results["ways"].items()}
    assert all(each["paid"] == ORDERS for each in killed.values())
    assert len(killed["in-process, @Async"]["orders_incomplete"]) > 0
    assert len(killed["in-process, @Async"]["orders_incomplete"]) == killed["in-process, @Async"]["in_hand"]
    assert killed["paystream"]["in_hand"] > 0
    assert killed["paystream"]["orders_incomplete"] == []
    assert killed["paystream"]["effects_found"] == 4 * ORDERS
    assert killed["paystream"]["effects_doubled"] == 0
    assert killed["paystream"]["caught_up_seconds"] > 0


def test_a_consumer_that_is_added_gets_no_past_order_in_process_and_all_of_them_from_kafka(results: Results) -> None:
    newcomers = {name: way["newcomer"] for name, way in results["ways"].items()}
    assert all(each["new"] == 1 and each["past"] == ORDERS - 1 for each in newcomers.values())
    assert [newcomers[name]["received"] for name in OLD] == [0, 0]
    assert newcomers["paystream"]["received"] == ORDERS - 1


def test_an_order_that_was_lost_in_process_is_found_in_every_topic(results: Results) -> None:
    sample = results["sample"]
    lost = results["ways"]["in-process, @Async"]["killed"]["orders_incomplete"]
    assert sample in lost
    assert not any("failed" in line for line in results["ways"]["in-process, @Async"]["trail"])
    topics = [line.partition("-")[0] for line in results["ways"]["paystream"]["trail"]]
    assert topics[0] == "payment.completed"
    assert sorted(topics[1:]) == [
        "analytics.sales", "inventory.movements", "notification.requests", "platform.orders",
    ]  # fmt: skip
    assert all(f"caused by pay-{sample}" in line for line in results["ways"]["paystream"]["trail"][1:])


def test_a_file_that_is_too_short_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    file = tmp_path / "two.jsonl"
    file.write_bytes(order(1) + b"\n" + order(2) + b"\n")
    done = subprocess.run([*COMMAND, "--orders", str(file)], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 65
    assert f"{file}: holds 2 valid orders" in done.stderr
