from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from examples.in_process_events.events import THREADS, EventPublisher, OrderPaid
from examples.in_process_events.faults import Busy, Faults, Refused
from examples.in_process_events.journal import Journal
from examples.in_process_events.listeners import MESSAGES
from examples.in_process_events.shop import Checkout, in_process
from models.payment import PaymentCompleted

SECONDS = 10.0


def paid(order: str = "7") -> OrderPaid:
    body = json.dumps(
        {
            "paymentId": f"pay-{order}", "orderId": order, "customerId": "17850", "method": "CARD", "currency": "GBP",
            "amount": "15.30", "paidAt": "2010-12-01T08:26:00Z", "country": "United Kingdom",
            "lines": [{"sku": "85123A", "name": "T-LIGHT HOLDER", "quantity": 6, "unitPrice": "2.55"}],
        }
    ).encode()  # fmt: skip
    return OrderPaid(PaymentCompleted.model_validate_json(body), body)


def orders(file: Path) -> list[str]:
    return [json.loads(line)["orderId"] for line in file.read_bytes().splitlines()]


@pytest.fixture
def publisher() -> Iterator[EventPublisher]:
    with closing(EventPublisher()) as publisher:
        yield publisher


def fails(event: OrderPaid) -> None:
    raise ValueError("no")


# -- synchronous listeners -------------------------------------------------------------------------


def test_synchronous_listeners_run_in_their_order_in_the_thread_of_the_publisher(publisher: EventPublisher) -> None:
    calls: list[tuple[str, int]] = []
    publisher.listen(lambda event: calls.append(("first", threading.get_ident())))
    publisher.listen(lambda event: calls.append(("second", threading.get_ident())))
    publisher.publish(paid())
    here = threading.get_ident()
    assert calls == [("first", here), ("second", here)]


def test_what_a_synchronous_listener_raises_reaches_the_publisher_and_later_listeners_are_not_called(
    publisher: EventPublisher,
) -> None:
    called: list[str] = []
    publisher.listen(lambda event: called.append("before"))
    publisher.listen(fails)
    publisher.listen(lambda event: called.append("after"))
    with pytest.raises(ValueError, match="no"):
        publisher.publish(paid())
    assert called == ["before"]


def test_a_listener_hears_only_of_what_is_published_after_it_came(publisher: EventPublisher) -> None:
    heard: list[str] = []
    publisher.publish(paid("1"))
    publisher.listen(lambda event: heard.append(event.payment.order_id))
    publisher.publish(paid("2"))
    assert heard == ["2"]


# -- asynchronous listeners ------------------------------------------------------------------------


def test_the_publisher_does_not_wait_for_asynchronous_listeners_and_an_orderly_end_does() -> None:
    publisher, may_go, done = EventPublisher(), threading.Event(), threading.Event()

    def slow(event: OrderPaid) -> None:
        assert may_go.wait(SECONDS)
        done.set()

    publisher.listen(slow, asynchronous=True)
    publisher.publish(paid())
    assert not done.is_set()
    may_go.set()
    publisher.close()
    assert done.is_set()


def test_what_an_asynchronous_listener_raises_is_logged_and_nobody_else_hears_of_it(
    publisher: EventPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    heard = threading.Event()
    publisher.listen(fails, asynchronous=True)
    publisher.listen(lambda event: heard.set(), asynchronous=True)
    publisher.publish(paid("536365"))
    publisher.close()
    assert heard.is_set()
    assert caplog.messages == ["order 536365: an asynchronous listener failed: no"]


def test_as_many_asynchronous_listeners_run_at_once_as_the_pool_has_threads_and_the_others_queue() -> None:
    publisher, may_go, started = EventPublisher(), threading.Event(), threading.Semaphore(0)

    def waits(event: OrderPaid) -> None:
        started.release()
        assert may_go.wait(SECONDS)

    publisher.listen(waits, asynchronous=True)
    for number in range(THREADS + 3):
        publisher.publish(paid(str(number)))
    for _ in range(THREADS):
        assert started.acquire(timeout=SECONDS)
    assert not started.acquire(blocking=False)
    may_go.set()
    publisher.close()
    assert [started.acquire(blocking=False) for _ in range(4)] == [True, True, True, False]


# -- the shop --------------------------------------------------------------------------------------


def sell(folder: Path, faults: Faults, *ids: str, asynchronous: bool = False, loyalty: bool = False) -> None:
    with (
        in_process(folder, faults, asynchronous=asynchronous, loyalty=loyalty) as publisher,
        closing(Checkout(folder, publisher)) as checkout,
    ):
        for order in ids:
            checkout.pay(paid(order))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_where_nothing_fails_every_system_is_told_of_every_order_once(tmp_path: Path, asynchronous: bool) -> None:
    sell(tmp_path, Faults(), "1", "2", "3", asynchronous=asynchronous)
    for system in MESSAGES:
        assert sorted(orders(tmp_path / f"{system}.jsonl")) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("asynchronous", "told"),
    [
        (False, {"platform": 3, "notification": 2, "inventory": 2, "analytics": 2}),
        (True, {"platform": 3, "notification": 2, "inventory": 3, "analytics": 3}),
    ],
)
def test_an_order_stays_paid_whatever_its_listeners_do(
    tmp_path: Path, asynchronous: bool, told: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        sell(tmp_path, Faults(busy=["2"]), "1", "2", "3", asynchronous=asynchronous)
    assert orders(tmp_path / "orders.jsonl") == ["1", "2", "3"]
    assert {system: len(orders(tmp_path / f"{system}.jsonl")) for system in MESSAGES} == told
    assert [message.partition(":")[0] for message in caplog.messages] == ["order 2"]


def test_a_listener_that_came_later_is_told_of_later_orders(tmp_path: Path) -> None:
    sell(tmp_path, Faults(), "1", "2")
    sell(tmp_path, Faults(), "3", loyalty=True)
    assert orders(tmp_path / "loyalty.jsonl") == ["3"]
    assert orders(tmp_path / "orders.jsonl") == ["1", "2", "3"]


# -- faults ----------------------------------------------------------------------------------------


def test_busy_fails_once_and_refused_every_time_and_each_failure_is_noted(tmp_path: Path) -> None:
    with closing(Faults(busy=["1"], refused=["2"], journal=Journal(tmp_path / "faults.jsonl"))) as faults:
        with pytest.raises(Busy):
            faults.check("1")
        faults.check("1")
        for _ in range(2):
            with pytest.raises(Refused):
                faults.check("2")
        faults.check("3")
    assert orders(tmp_path / "faults.jsonl") == ["1", "2", "2"]


def test_without_a_word_in_the_environment_nothing_fails() -> None:
    faults = Faults.read({})
    faults.check("1")
    assert faults.delay == 0
