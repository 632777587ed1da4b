"""A worker that dies between any two of a lane's steps loses nothing and doubles nothing."""

from __future__ import annotations

import pytest
from support.census import census_of
from support.kafka import admin, committed, produce, wait_until_consumed
from support.payments import payments, raws
from support.worker import CRASHED, Crew

from streams.delivery.crash_points import CRASH_POINTS
from streams.topics import PAYMENT_COMPLETED

_PAYMENTS = 2_000
_BATCH = "100"


@pytest.mark.parametrize("point", CRASH_POINTS)
async def test_a_worker_that_dies_there_is_succeeded_without_loss_or_double(crew: Crew, point: str) -> None:
    sent = payments(range(_PAYMENTS))
    await produce(crew.servers, PAYMENT_COMPLETED, raws(sent))
    # A name that outlives a restart spares the successor the wait for its predecessor's session to end.
    worker = crew.hire("worker", DELIVERY__MAX_BATCH_RECORDS=_BATCH, KAFKA__INSTANCE_ID="worker")

    worker.start(CRASH_AT=f"{point}:7")  # the seventh batch, so that there is a committed past
    assert await worker.ended() == CRASHED
    async with admin(crew.servers) as client:
        done = sum((await committed(client, crew.group(), PAYMENT_COMPLETED)).values())
    assert 0 < done < _PAYMENTS, "it has to die in the middle of its work"

    worker.start()
    await wait_until_consumed(crew.servers, crew.group(), PAYMENT_COMPLETED)
    census = await census_of(crew.servers, sent)
    assert census.exact, str(census)
