from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import faust
import pytest
from faust.types import AgentT

from streams.delivery import Batch, BatchTopic, Outbox, Record, batches
from streams.delivery.batch import Done, Verdict
from streams.failure.errors import AgentContractBroken
from streams.testing import batch, record

# Faust makes an event loop for every application and never closes it, so there is one for all tests.
APP = faust.App("test-channel", store="memory://", autodiscover=False)
NAMES = count()
# What takes longer than this does not happen; it is far beyond what any step here needs.
SOON = 5.0

Body = Callable[[Any], AsyncIterator[Batch]]


class Reports(list[AgentContractBroken]):
    """What the hand-off has to say of the agent's side."""

    def __init__(self) -> None:
        super().__init__()
        self._some = asyncio.Event()

    def hear(self, report: AgentContractBroken) -> None:
        self.append(report)
        self._some.set()

    async def first(self) -> str:
        await asyncio.wait_for(self._some.wait(), SOON)
        return str(self[0])


@pytest.fixture
def channel() -> BatchTopic:
    return batches(APP, "orders")


@pytest.fixture
def reports(channel: BatchTopic) -> Iterator[Reports]:
    heard = Reports()
    channel.handoff.watch(heard.hear)
    yield heard
    channel.handoff.unwatch()


@asynccontextmanager
async def running(channel: BatchTopic, body: Body, *, concurrency: int = 1) -> AsyncIterator[AgentT[Any]]:
    """Run a real Faust agent on the channel."""
    agent = APP.agent(channel, name=f"agent{next(NAMES)}", concurrency=concurrency)(body)
    APP.flow_control.resume()
    await agent.start()
    try:
        yield agent
    finally:
        # As a worker does: the source has stopped watching before the agents stop.
        channel.handoff.unwatch()
        await agent.stop()


def hand_over(channel: BatchTopic, partition: int = 0) -> asyncio.Future[Verdict]:
    """Do what a lane does."""
    taken = batch(record(b"", topic="orders", partition=partition))
    released = taken.offer()
    channel.handoff.put_nowait(taken)
    return released


def ignore(record: Record, out: Outbox) -> None:
    """A handler with nothing to do."""


async def diligent(stream: Any) -> AsyncIterator[Batch]:
    async for taken in stream:
        yield await taken.handle(ignore)


# -- a topic that is an ordinary Faust topic to look at ----------------------------------------------


def test_the_channel_lists_its_topics_as_any_faust_topic_does() -> None:
    agent = APP.agent(batches(APP, "orders", "returns"), name=f"agent{next(NAMES)}")(diligent)
    assert list(agent.get_topic_names()) == ["orders", "returns"]


def test_all_clones_of_a_channel_share_one_queue(channel: BatchTopic) -> None:
    clones = [channel.clone(), channel.clone(is_iterator=True), channel.clone_using_queue(channel.handoff)]
    for clone in clones:
        assert isinstance(clone, BatchTopic)
        assert clone.handoff is channel.handoff
        assert clone.queue is channel.handoff


def test_two_channels_of_one_topic_have_queues_of_their_own(channel: BatchTopic) -> None:
    assert batches(APP, "orders").handoff is not channel.handoff


def test_what_reads_dead_letters_says_so_in_all_its_clones() -> None:
    for dead_letters in (True, False):
        clone = batches(APP, "orders", dead_letters=dead_letters).clone(is_iterator=True)
        assert isinstance(clone, BatchTopic)
        assert clone.dead_letters is dead_letters


async def test_iterating_subscribes_nothing_with_fausts_own_consumer(channel: BatchTopic) -> None:
    conductor: Any = APP.topics
    before = set(conductor._topics)
    iterator: Any = channel.__aiter__()
    assert iterator.__aiter__() is iterator
    assert set(conductor._topics) == before


# -- the hand-off ------------------------------------------------------------------------------------


async def test_an_agent_gets_the_batches_and_its_lanes_their_verdicts(channel: BatchTopic, reports: Reports) -> None:
    async with running(channel, diligent):
        verdicts = [hand_over(channel, partition) for partition in range(5)]
        assert await asyncio.wait_for(asyncio.gather(*verdicts), SOON) == [Done()] * 5
    assert reports == []


async def test_one_batch_goes_to_one_actor_only(channel: BatchTopic, reports: Reports) -> None:
    taken_by: list[tuple[object, int]] = []
    three_are_busy, gate = asyncio.Event(), asyncio.Event()

    async def body(stream: Any) -> AsyncIterator[Batch]:
        async for taken in stream:
            taken_by.append((asyncio.current_task(), taken.records[0].partition))
            if len(taken_by) == 3:
                three_are_busy.set()
            await gate.wait()
            yield await taken.handle(ignore)

    async with running(channel, body, concurrency=3):
        verdicts = [hand_over(channel, partition) for partition in range(5)]
        await asyncio.wait_for(three_are_busy.wait(), SOON)
        assert len({actor for actor, _ in taken_by}) == 3
        gate.set()
        await asyncio.wait_for(asyncio.gather(*verdicts), SOON)
        assert sorted(partition for _, partition in taken_by) == [0, 1, 2, 3, 4]
    assert reports == []


async def test_an_actor_that_waits_does_not_keep_the_others_from_working(channel: BatchTopic) -> None:
    gate = asyncio.Event()

    async def wait_for_partition_0(record: Record, out: Outbox) -> None:
        if record.partition == 0:
            await gate.wait()

    async def body(stream: Any) -> AsyncIterator[Batch]:
        async for taken in stream:
            yield await taken.handle(wait_for_partition_0)

    async with running(channel, body, concurrency=2):
        stuck = hand_over(channel, 0)
        others = [hand_over(channel, partition) for partition in range(1, 6)]
        await asyncio.wait_for(asyncio.gather(*others), SOON)
        assert not stuck.done()
        gate.set()
        await asyncio.wait_for(stuck, SOON)


# -- agents that break their contract ------------------------------------------------------------------


async def test_an_agent_that_takes_a_second_batch_without_finishing_the_first_is_reported(
    channel: BatchTopic, reports: Reports
) -> None:
    async def forgetful(stream: Any) -> AsyncIterator[Batch]:
        async for taken in stream:
            yield taken

    async with running(channel, forgetful):
        hand_over(channel, 7)
        assert "without having finished <Batch orders-7@0..0>" in await reports.first()


async def test_an_actor_with_empty_hands_is_not_reported_for_what_another_has_in_hand(
    channel: BatchTopic, reports: Reports
) -> None:
    async with running(channel, diligent, concurrency=2):
        in_my_hands = channel.handoff
        verdict = hand_over(channel, 0)
        await asyncio.wait_for(verdict, SOON)
        mine = batch(record(b"", topic="orders", partition=9))
        mine.offer()
        in_my_hands.put_nowait(mine)
        assert in_my_hands.get_nowait() is mine
        await asyncio.wait_for(hand_over(channel, 1), SOON)
        assert reports == []
        in_my_hands.expect_empty_hands()
        assert len(reports) == 1


async def test_a_batch_given_back_to_be_tried_again_is_not_in_hand(channel: BatchTopic, reports: Reports) -> None:
    def fail(record: Record, out: Outbox) -> None:
        raise KeyError

    async def body(stream: Any) -> AsyncIterator[Batch]:
        async for taken in stream:
            yield await taken.handle(fail)

    async with running(channel, body):
        for partition in range(3):
            assert await asyncio.wait_for(hand_over(channel, partition), SOON) != Done()
        assert reports == []


async def test_a_revoked_batch_may_be_dropped(channel: BatchTopic, reports: Reports) -> None:
    taken = batch(record(b""))
    taken.offer()
    channel.handoff.put_nowait(taken)
    assert await channel.handoff.get() is taken
    taken.revoke()
    channel.handoff.expect_empty_hands()
    assert reports == []


async def test_an_agent_whose_body_ends_is_reported(channel: BatchTopic, reports: Reports) -> None:
    async def brief(stream: Any) -> AsyncIterator[Batch]:
        async for taken in stream:
            yield await taken.handle(ignore)
            break

    async with running(channel, brief):
        await asyncio.wait_for(hand_over(channel), SOON)
        assert "an actor ended" in await reports.first()


async def actor(channel: BatchTopic, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
    """Start a task that takes one batch as an actor does, and then does `work`."""
    verdict = hand_over(channel)

    async def life() -> None:
        taken = await channel.handoff.get()
        await taken.handle(ignore)
        await work()

    task = asyncio.ensure_future(life())
    await verdict
    return task


async def test_an_actor_that_is_cancelled_while_working_is_reported(channel: BatchTopic, reports: Reports) -> None:
    task = await actor(channel, asyncio.Event().wait)  # type: ignore[arg-type]
    task.cancel()
    assert await reports.first() == "an actor was cancelled"


async def test_what_an_actor_died_of_is_reported_without_quoting_it(channel: BatchTopic, reports: Reports) -> None:
    async def fail() -> None:
        raise ValueError("card 4111111111111111")

    await actor(channel, fail)
    assert "an actor ended: " in await reports.first()
    assert "ValueError" in str(reports[0])
    assert "4111" not in str(reports[0])


async def test_nothing_is_reported_any_more_while_the_worker_stops(channel: BatchTopic, reports: Reports) -> None:
    task = await actor(channel, asyncio.Event().wait)  # type: ignore[arg-type]
    mine = batch(record(b""))
    mine.offer()
    channel.handoff.put_nowait(mine)
    await channel.handoff.get()
    channel.handoff.unwatch()
    channel.handoff.expect_empty_hands()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)  # the task's done-callbacks run one turn after it
    assert reports == []


def test_several_topics_are_named_for_the_list_of_agents() -> None:
    assert batches(APP, "orders", "returns").get_topic_name() == "orders, returns"
