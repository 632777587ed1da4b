"""The pages through real HTTP, for lanes that stand as a test says; what moves them is in the integration tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiokafka import TopicPartition

from streams.application import Application
from streams.delivery import Batch
from streams.delivery.lane import Lane
from streams.delivery.status import State
from streams.kafka.clients import make_consumer
from streams.kafka.damage import DamagedBatch
from streams.settings import DeliverySettings, Settings
from streams.web.pages import add_pages

SETTINGS = Settings(app_id="shop", delivery=DeliverySettings(stall_after=90))
HALTED = TopicPartition("payment.completed", 3)


@pytest.fixture
def app() -> Iterator[Application]:
    """A worker of two agents that has joined its groups."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    made = Application(SETTINGS, autodiscover=False, loop=loop)
    add_pages(made)
    for name in ("payments", "ledger"):

        @made.agent(made.batches("payment.completed"), name=name)
        async def body(stream: Any) -> AsyncIterator[Batch]:
            async for batch in stream:
                yield batch

    for source in made.make_sources():
        source.joined = True
    yield made
    asyncio.set_event_loop(None)
    loop.close()


@asynccontextmanager
async def browser(app: Application) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(await app.web.wsgi(), host="127.0.0.1")) as client:
        yield client


async def lane(app: Application, source: TopicPartition, state: State, reason: str = "", *, of: int = 0) -> Lane:
    """Give an agent a lane that has not been started."""
    consumer = make_consumer(SETTINGS.kafka, "group", 1)
    await consumer.stop()
    made = app.sources[of].lanes[source] = app.sources[of]._make_lane(consumer, source)
    await made._finisher.close()
    made._committing.next_offset = 41
    made._around.meter.alive(source, 48)
    made._standing.enter(state, reason)
    return made


async def answer(client: TestClient[Any, Any], path: str) -> tuple[int, Any]:
    async with client.get(path) as response:
        assert response.content_type == "application/json"
        return response.status, await response.json()


OK = {"status": "ok", "reasons": []}


# -- health --------------------------------------------------------------------------------------------


async def test_a_worker_at_work_is_alive_and_ready(app: Application) -> None:
    await lane(app, HALTED, State.HANDLING)
    async with browser(app) as client:
        assert await answer(client, "/health/live/") == (200, OK)
        assert await answer(client, "/health/ready/") == (200, OK)


async def test_a_halted_lane_is_503_for_readiness_with_its_reason_and_200_for_liveness(app: Application) -> None:
    await lane(app, HALTED, State.HALTED, "3 records in a row")
    reasons = ["shop.payments: payment.completed-3 has halted: 3 records in a row"]
    async with browser(app) as client:
        assert await answer(client, "/health/live/") == (200, {"status": "ok", "reasons": reasons})
        assert await answer(client, "/health/ready/") == (503, {"status": "degraded", "reasons": reasons})


async def test_a_dependency_that_is_down_is_503_for_readiness_until_it_is_back(app: Application) -> None:
    breaker = app.breakers.of("database")
    breaker.open("connection refused", 5)
    async with browser(app) as client:
        assert (await answer(client, "/health/live/"))[0] == 200
        status, said = await answer(client, "/health/ready/")
        assert (status, said["status"]) == (503, "degraded")
        assert said["reasons"] == ["database is down for 0 s: connection refused"]
        breaker.close()
        assert await answer(client, "/health/ready/") == (200, OK)


async def test_a_stuck_lane_is_503_for_both(app: Application) -> None:
    stuck = await lane(app, HALTED, State.HANDLING)
    stuck._standing._progress_at -= 91
    async with browser(app) as client:
        for path in ("/health/live/", "/health/ready/"):
            status, said = await answer(client, path)
            assert (status, said["status"]) == (503, "degraded")
            assert said["reasons"] == ["shop.payments: payment.completed-3 has got nowhere for 91 s while handling"]


async def test_one_agent_without_partitions_is_enough_not_to_be_ready(app: Application) -> None:
    app.sources[1].joined = False
    async with browser(app) as client:
        assert (await answer(client, "/health/live/"))[0] == 200
        assert (await answer(client, "/health/ready/"))[0] == 503


# -- status --------------------------------------------------------------------------------------------


async def test_the_status_has_every_lane_and_every_breaker(app: Application) -> None:
    await lane(app, HALTED, State.HALTED, "because")
    await lane(app, TopicPartition("payment.completed", 0), State.FETCHING, of=1)
    app.breakers.of("database").open("connection refused", 5)
    async with browser(app) as client:
        status, said = await answer(client, "/status/")
    assert status == 200
    assert (said["live"], said["ready"], len(said["reasons"])) == (True, False, 2)
    halted, fetching = said["lanes"]
    assert halted.pop("quiet_seconds") < 30
    assert halted == {
        "group": "shop.payments", "topic": "payment.completed", "partition": 3, "state": "halted",
        "next_offset": 41, "end_offset": 48, "lag": 7, "reason": "because",
    }  # fmt: skip
    assert (fetching["group"], fetching["partition"], fetching["state"]) == ("shop.ledger", 0, "fetching")
    (breaker,) = said["breakers"]
    assert breaker.pop("seconds_open") < 30
    assert breaker == {
        "dependency": "database", "state": "open", "reason": "connection refused", "waiting": 0, "times_opened": 1,
    }  # fmt: skip


# -- letting a lane go on ------------------------------------------------------------------------------


async def test_what_has_not_halted_is_not_resumed(app: Application) -> None:
    at_work = await lane(app, HALTED, State.HANDLING)
    async with browser(app) as client:
        for topic, partition in (HALTED, ("payment.completed", 9), ("nothing", 0)):
            async with client.post("/lanes/resume/", json={"topic": topic, "partition": partition}) as response:
                assert (response.status, await response.json()) == (200, {"resumed": []})
    assert app.sources[0].lanes == {HALTED: at_work}


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("content_type", [FORM, "text/plain", "multipart/form-data", ""])
async def test_a_form_of_another_site_is_refused_whatever_it_holds(app: Application, content_type: str) -> None:
    body = json.dumps({"topic": HALTED.topic, "partition": HALTED.partition})
    async with (
        browser(app) as client,
        client.post("/lanes/resume/", data=body, headers={"Content-Type": content_type}) as response,
    ):
        assert response.status == 415
        assert await response.json() == {"error": "send application/json"}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("{", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ("{}", "topic: Field required"),
        ('{"topic": "t"}', "partition: Field required"),
        ('{"topic": "t", "partition": "x"}', "partition: Input should be a valid integer"),
        ('{"topic": "t", "partition": 0, "offset": 7}', "Extra inputs are not permitted"),
        (b"\xff", "Invalid JSON"),
    ],
)
async def test_a_request_that_cannot_be_meant_is_400_and_says_why(
    app: Application, body: str | bytes, error: str
) -> None:
    async with (
        browser(app) as client,
        client.post("/lanes/resume/", data=body, headers={"Content-Type": "application/json"}) as response,
    ):
        assert response.status == 400
        assert error in (await response.json())["error"]


async def test_looking_at_the_page_resumes_nothing(app: Application) -> None:
    async with browser(app) as client, client.get("/lanes/resume/") as response:
        assert response.status == 405


# -- what cannot be read -------------------------------------------------------------------------------


async def test_only_what_cannot_be_read_is_given_up_and_only_if_it_is_named_exactly(app: Application) -> None:
    await lane(app, HALTED, State.FETCHING)
    damaged = app.sources[0].damaged
    damaged.found(HALTED, DamagedBatch(5, 10, 5, True, "its checksum is wrong"))
    place = {"topic": HALTED.topic, "partition": HALTED.partition}
    told = {
        "group": "shop.payments", "first_offset": 5, "next_offset": 10, "records": 5,
        "what": "offsets 5 to 9 (5 records)", "cause": "its checksum is wrong", "given_up": False,
    }  # fmt: skip
    async with browser(app) as client:

        async def ask(**more: Any) -> Any:
            async with client.post("/lanes/skip/", json={**place, **more}) as response:
                assert response.status == 200
                return (await response.json())["unreadable"]

        assert await ask() == [told]
        assert await ask(first_offset=5) == [told]
        assert await ask(first_offset=5, next_offset=11) == [told]
        assert await ask(group="shop.ledger") == []
        assert await ask(partition=0) == []
        assert not damaged.found(HALTED, DamagedBatch(5, 10, 5, True, "its checksum is wrong")), (
            "nothing was given up by looking"
        )
        assert await ask(first_offset=5, next_offset=10) == [{**told, "given_up": True}]
        assert damaged.found(HALTED, DamagedBatch(5, 10, 5, True, "its checksum is wrong"))
        assert not damaged.found(HALTED, DamagedBatch(5, 11, 6, True, ""))
        async with client.get("/lanes/skip/") as response:
            assert response.status == 405
