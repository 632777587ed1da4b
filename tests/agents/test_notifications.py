from __future__ import annotations

from dataclasses import replace

import pytest
from support.requests import REQUEST

from agents import notifications
from streams.delivery import Skip
from streams.failure.errors import PermanentError
from streams.testing import batch, record


async def test_each_request_is_told_and_what_cannot_be_is_counted_or_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    async def tell(request: object, place: str) -> None:
        if request == replace(REQUEST, customer_id=None):
            raise Skip("guest")
        if request == replace(REQUEST, order_id="refused"):
            raise PermanentError("the mail server refuses the address: 550")
        told.append(request)

    # The notifier itself talks to a mail server and a database: that is in the integration tests.
    monkeypatch.setattr(notifications.notifier, "tell", tell)
    taken = batch(
        record(REQUEST.to_json()),
        record(replace(REQUEST, customer_id=None).to_json(), offset=1),
        record(replace(REQUEST, order_id="refused").to_json(), offset=2),
        record(b"{}", offset=3),
    )
    async with notifications.notifications.test_context() as agent:
        await agent.put(taken)
    assert told == [REQUEST]
    assert dict(taken.tally.skipped) == {"guest": 1}
    assert dict(taken.tally.dead_letters) == {"handle": 1, "validate": 1}
