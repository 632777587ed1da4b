"""Events inside one process, with the meaning that Spring gives them.

| here                        | in Spring                                                                |
|-----------------------------|--------------------------------------------------------------------------|
| ``EventPublisher.publish``  | ``ApplicationEventPublisher.publishEvent``                               |
| ``listen(f)``               | ``@EventListener void f(OrderPaid event)``                               |
| ``listen(f, asynchronous)`` | the same with ``@Async``, under ``@EnableAsync``                         |
| the thread pool             | Spring Boot's ``applicationTaskExecutor``: 8 threads, an unlimited queue |

Source: the documentation of Spring Framework ("Standard and Custom Events", ``@EventListener``) and of Spring
Boot ("Task Execution and Scheduling").
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from models.payment import PaymentCompleted

THREADS: Final = 8
"""What Spring Boot gives ``@Async`` if nobody says otherwise (``spring.task.execution.pool.core-size``)."""

logger = logging.getLogger("shop")


@dataclass(frozen=True, slots=True)
class OrderPaid:
    """An order has been paid.

    Attributes:
        payment: what the listeners work with.
        body: the same as the JSON that the shop writes.
    """

    payment: PaymentCompleted
    body: bytes


Listener = Callable[[OrderPaid], None]


class EventPublisher:
    """Tells listeners in this process of an event.

    - Without ``asynchronous``, listeners run one after the other in the publisher's thread, in the order in which
      they were registered (``@Order``). ``publish`` returns when the last is done. What one raises reaches the
      publisher, and the listeners after it are not called.
    - With it, ``publish`` only queues the call, and a thread of the pool makes it. What the listener raises is
      logged (``SimpleAsyncUncaughtExceptionHandler``), and nobody else hears of it. Nothing is tried again.
    - The queue is memory: when the process dies, it is gone.

    One thing is kinder than Spring's default: an orderly end waits until the queue is empty, as with
    ``spring.task.execution.shutdown.await-termination``.
    """

    def __init__(self) -> None:
        self._listeners: list[tuple[Listener, bool]] = []
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="task")

    def listen(self, listener: Listener, *, asynchronous: bool = False) -> None:
        """Register a listener; it hears of what is published from now on."""
        self._listeners.append((listener, asynchronous))

    def publish(self, event: OrderPaid) -> None:
        """Tell all listeners.

        Raises:
            Exception: whatever a synchronous listener raises.
        """
        for listener, asynchronous in self._listeners:
            if asynchronous:
                self._executor.submit(_guarded, listener, event)
            else:
                listener(event)

    def close(self) -> None:
        """Wait until everything queued is done."""
        self._executor.shutdown()


def _guarded(listener: Listener, event: OrderPaid) -> None:
    try:
        listener(event)
    except Exception as error:
        logger.error("order %s: an asynchronous listener failed: %s", event.payment.order_id, error)
