"""The shop: takes orders, records that they are paid, and publishes that they are.

``python -m examples.in_process_events.shop --orders FILE --folder FOLDER`` from the project's folder; the file holds
one payment a line, as JSON. In the folder it writes ``orders.jsonl``, the shop's own record and its database in
this example; ``checkouts.jsonl``, how long each customer waited; and a file for each listener.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from examples.in_process_events.events import EventPublisher, OrderPaid
from examples.in_process_events.faults import Faults
from examples.in_process_events.journal import Journal
from examples.in_process_events.kafka_events import KafkaPublisher
from examples.in_process_events.listeners import MESSAGES, LoyaltyListener, MessageListener
from models.payment import PaymentCompleted

logger = logging.getLogger("shop")


class Publisher(Protocol):
    """All that the checkout knows of events."""

    def publish(self, event: OrderPaid) -> None:
        """Publish one."""


class Checkout:
    """Where customers pay.

    Arguments:
        folder: for the shop's records.
        publisher: whom to tell of each paid order.
    """

    def __init__(self, folder: Path, publisher: Publisher) -> None:
        self._orders = Journal(folder / "orders.jsonl")
        self._checkouts = Journal(folder / "checkouts.jsonl")
        self._publisher = publisher

    def pay(self, event: OrderPaid) -> None:
        """Record that an order is paid, then publish it, as after a database's commit."""
        order = event.payment.order_id
        began = time.perf_counter()
        self._orders.write({"orderId": order})
        logger.info("order %s: paid", order)
        try:
            self._publisher.publish(event)
        except Exception as error:
            # The customer has paid: the page must not say otherwise. All that is left is a line in the log.
            logger.error("order %s: publishing failed: %s", order, error)
        self._checkouts.write({"orderId": order, "ms": (time.perf_counter() - began) * 1000})

    def close(self) -> None:
        """Close the records."""
        self._orders.close()
        self._checkouts.close()


@contextmanager
def in_process(folder: Path, faults: Faults, *, asynchronous: bool, loyalty: bool) -> Iterator[EventPublisher]:
    """Set up the old way: the publisher with its listeners; an orderly end waits for them."""
    with ExitStack() as stack:
        publisher = EventPublisher()
        for name in MESSAGES:
            listener = MessageListener(name, folder, faults)
            stack.callback(listener.close)
            publisher.listen(listener, asynchronous=asynchronous)
        if loyalty:
            newcomer = LoyaltyListener(folder)
            stack.callback(newcomer.close)
            publisher.listen(newcomer, asynchronous=asynchronous)
        stack.callback(publisher.close)  # before the listeners' files
        yield publisher


def main() -> None:
    """Take every order of a file."""
    parser = argparse.ArgumentParser(description="A shop that takes orders and publishes them.")
    parser.add_argument("--orders", type=Path, required=True, help="payments, one JSON object a line")
    parser.add_argument("--folder", type=Path, required=True, help="where to write")
    parser.add_argument("--every", type=float, default=0.0, metavar="SECONDS", help="pause between customers")
    parser.add_argument("--asynchronous", action="store_true", help="the listeners are @Async")
    parser.add_argument("--loyalty", action="store_true", help="a fifth listener")
    parser.add_argument("--kafka", metavar="SERVERS", help="publish to Kafka instead of in this process")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logger.setLevel(logging.INFO)
    bodies = options.orders.read_bytes().splitlines()
    events = [OrderPaid(PaymentCompleted.model_validate_json(body), body) for body in bodies]
    with ExitStack() as stack:
        publisher: Publisher
        if options.kafka:
            publisher = kafka = KafkaPublisher(options.kafka)
            stack.callback(kafka.close)
        else:
            faults = Faults.read()
            stack.callback(faults.close)
            publisher = stack.enter_context(
                in_process(options.folder, faults, asynchronous=options.asynchronous, loyalty=options.loyalty)
            )
        checkout = Checkout(options.folder, publisher)
        stack.callback(checkout.close)
        for event in events:
            checkout.pay(event)
            time.sleep(options.every)


if __name__ == "__main__":
    main()
