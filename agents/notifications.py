"""Tells customers of their payments and cancellations, by letter or webhook."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from models.notification import ADAPTER
from streams.app import app
from streams.delivery import Batch, Outbox, Record
from streams.failure.errors import SetupError
from streams.notify.notifier import Notifier
from streams.topics import NOTIFICATION_REQUESTS

notifier = Notifier(app.use_database(), app.settings.notifications)
app.closing(notifier.close)
_needed = notifier.patience(app.settings.delivery.concurrency)
if app.settings.failure.handler_timeout <= _needed:
    # A handler that is cut off counts as the record's failure; a slow mail server is none.
    app.unable(
        SetupError(
            f"PAYSTREAM_FAILURE__HANDLER_TIMEOUT must be longer than the {_needed:g} s that a letter or webhook may "
            "take. Raise it, or shorten what adds up to that: of PAYSTREAM_NOTIFICATIONS__, SMTP_FINAL_TIMEOUT and "
            "twice SMTP_TIMEOUT, or WEBHOOK_TIMEOUT; times PAYSTREAM_DELIVERY__CONCURRENCY over CONCURRENCY_PER_HOST; "
            "and the wait for RATE_PER_HOST"
        )
    )


async def on_request(record: Record, out: Outbox) -> None:
    """Tell the customer of one request."""
    await notifier.tell(record.parse_as(ADAPTER), record.place)


@app.agent(
    app.batches(NOTIFICATION_REQUESTS, finish=app.emits_nothing()),
    concurrency=app.settings.delivery.concurrency,
)
async def notifications(stream: Any) -> AsyncIterator[Batch]:
    """Tell each customer what is requested, at least once; a repeat carries the same id."""
    async for batch in stream:
        yield await batch.handle(on_request)
