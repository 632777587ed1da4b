"""A worker that dies between any two of a lane's steps loses nothing and doubles nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from support.census import census_of
from support.databases import make_url_of, opened, upgraded
from support.kafka import admin, committed, produce, wait_until_consumed
from support.orders import order
from support.payments import Raw, payments, raws
from support.requests import REQUEST
from support.waiting import eventually
from support.worker import CRASHED, Crew

from streams.delivery.crash_points import CRASH_POINTS
from streams.notify.mailbox import Mailbox
from streams.stores.customer import Channel, Customer
from streams.stores.notifications import State, ledger_of, load_customers
from streams.topics import NOTIFICATION_REQUESTS, PAYMENT_COMPLETED, PLATFORM_ORDERS

_PAYMENTS = 2_000
_BATCH = "100"
_OF_OTHER_AGENTS = {"after_notify", "before_rename"}


@pytest.mark.parametrize("point", [each for each in CRASH_POINTS if each not in _OF_OTHER_AGENTS])
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


async def test_a_letter_whose_sender_dies_before_it_is_recorded_is_sent_again_and_can_be_recognised(
    crew: Crew, tmp_path: Path
) -> None:
    url = await upgraded(make_url_of("sqlite", tmp_path, None))
    requests = [
        replace(REQUEST, request_id=f"pay-{number}:order-notification", order_id=f"{number}") for number in range(9)
    ]
    async with Mailbox() as mailbox, opened(url) as database:
        await load_customers(database, [Customer("17850", Channel.EMAIL, "one@customer.example", "ko")])
        raws = [Raw(0, each.order_id.encode(), each.to_json()) for each in requests]
        await produce(crew.servers, NOTIFICATION_REQUESTS, raws)
        worker = crew.hire(
            "worker", agents=("agents.notifications",), DATABASE__URL=url, KAFKA__INSTANCE_ID="worker",
            NOTIFICATIONS__SMTP_PORT=str(mailbox.port),
        )  # fmt: skip
        worker.start(CRASH_AT="after_notify:5")
        assert await worker.ended() == CRASHED
        assert [each.state for each in await ledger_of(database, "4")] == [State.CLAIMED]

        worker.start()
        await wait_until_consumed(crew.servers, crew.group("notifications"), NOTIFICATION_REQUESTS)
        (told_twice,) = await ledger_of(database, "4")
        assert (told_twice.state, told_twice.attempts) == (State.SENT, 2)
    ids = Counter(str(letter["Message-ID"]) for letter in mailbox.letters)
    assert sorted(ids.values()) == [1] * 8 + [2], "one repeat, under the same id"


async def test_files_whose_writer_dies_after_its_commit_are_shown_by_the_next(crew: Crew, tmp_path: Path) -> None:
    await produce(crew.servers, PLATFORM_ORDERS, [Raw(number % 4, b"k", order(number)) for number in range(400)])
    folder = tmp_path / "platform"
    worker = crew.hire(
        "worker", agents=("agents.platform",), KAFKA__INSTANCE_ID="worker", PLATFORM__FOLDER=str(folder),
        PLATFORM__ROLL_ROWS="20", DELIVERY__MAX_BATCH_RECORDS="10", PLATFORM__ROLL_AGE="0.5",
    )  # fmt: skip
    worker.start(CRASH_AT="before_rename:5")
    assert await worker.ended() == CRASHED
    assert list((folder / "_aside").iterdir()), "what it had committed, and not yet moved"

    worker.start()
    await wait_until_consumed(crew.servers, crew.group("platform"), PLATFORM_ORDERS)

    def rows() -> list[str]:
        table = ds.dataset(str(folder), format="parquet", partitioning="hive").to_table(columns=["record_id"])
        return sorted(table["record_id"].to_pylist())

    await eventually(lambda: len(rows()) >= 400, "all files to be shown")
    assert rows() == sorted(f"pay-{number}:order-platform" for number in range(400))
