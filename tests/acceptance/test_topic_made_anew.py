"""A topic that is deleted and made anew while a real worker is down, or frozen: nothing of the new one is skipped."""

from __future__ import annotations

from collections import Counter

from support.kafka import make_anew, produce, read_topic, wait_until_consumed
from support.payments import Fate, Payment, payments, raws
from support.waiting import eventually
from support.worker import Crew, Worker

from streams.topics import PAYMENT_COMPLETED, PLATFORM_ORDERS

# More than there were, so that the former offsets look right.
_FORMER, _FRESH = payments(range(200)), payments(range(1_000, 1_600))


def _worker(crew: Crew) -> Worker:
    return crew.hire("one", agents=("agents.payments",), FAILURE__PAUSE_INTERVAL="1")


async def _swap(crew: Crew) -> None:
    await make_anew(crew.servers, PAYMENT_COMPLETED, 4)
    await produce(crew.servers, PAYMENT_COMPLETED, raws(_FRESH))


async def _all_written(crew: Crew, sent: list[Payment]) -> None:
    await wait_until_consumed(crew.servers, crew.group(), PAYMENT_COMPLETED)
    wanted = {each.key for each in sent if each.fate is Fate.PROCESSED}

    async def written() -> bool:
        return wanted <= {each.key for each in await read_topic(crew.servers, PLATFORM_ORDERS)}

    await eventually(written, "all of the new topic to be written", every=0.2)
    found = Counter(each.key for each in await read_topic(crew.servers, PLATFORM_ORDERS))
    assert set(found.values()) == {1}


async def test_a_worker_that_is_frozen_meanwhile_skips_nothing_and_says_what_happened(crew: Crew) -> None:
    worker = await _worker(crew).start().ready()
    await produce(crew.servers, PAYMENT_COMPLETED, raws(_FORMER))
    await wait_until_consumed(crew.servers, crew.group(), PAYMENT_COMPLETED)
    worker.freeze()
    await _swap(crew)
    worker.thaw()
    await _all_written(crew, _FRESH)
    assert worker.running

    await eventually(lambda: worker.fetch("/health/ready/")[0] == 200, "it to be ready again")


async def test_a_worker_that_is_down_meanwhile_begins_at_the_beginning(crew: Crew) -> None:
    worker = await _worker(crew).start().ready()
    await produce(crew.servers, PAYMENT_COMPLETED, raws(_FORMER))
    await wait_until_consumed(crew.servers, crew.group(), PAYMENT_COMPLETED)
    worker.kill()
    await _swap(crew)
    await worker.start().ready()
    await _all_written(crew, _FRESH)
    await worker.terminate()
