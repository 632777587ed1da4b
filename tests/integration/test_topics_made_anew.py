"""A topic that is deleted and made anew under a lane: nothing of the new one is skipped, whatever the lane does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.structs import OffsetAndMetadata
from support.agent import Running, running, unique
from support.kafka import create_topic, make_anew, produce, read_topic
from support.payments import Raw
from support.swapping import PATIENT, POINTS, Swap, handler, swap_before_the_commit
from support.waiting import eventually

from streams.delivery import Handler, Outbox, Record
from streams.delivery.status import LaneStatus, State
from streams.kafka.group_offsets import committed_position
from streams.kafka.offset_note import OffsetNote
from streams.kafka.topic_id import TopicIdentity, _TopicIdRequest, topic_identity
from streams.sandbox import Cluster
from streams.settings import Guarantee
from streams.web.health import judge

OLD, NEW = 40, 90  # more than there were: the former offset looks right


def _records(name: str, count: int) -> list[Raw]:
    return [Raw(0, b"%s %d" % (name.encode(), number), b"value") for number in range(count)]


async def _topics(kafka: Cluster) -> tuple[str, str]:
    servers, name = kafka.bootstrap_servers, unique("anew")
    for topic in (name, name + ".DLT", name + ".out"):
        await create_topic(servers, topic, 1)
    await produce(servers, name, _records("old", OLD))
    return name, name + ".out"


def _swap(kafka: Cluster, topic: str) -> Swap:
    last = [each.key or b"" for each in _records("old", OLD)[-4:]]
    return Swap(kafka.bootstrap_servers, topic, last, _records("new", NEW))


async def _outputs(kafka: Cluster, out: str) -> Counter[bytes | None]:
    return Counter(each.key for each in await read_topic(kafka.bootstrap_servers, out))


async def _position(kafka: Cluster, group: str, topic: str) -> tuple[int, OffsetNote]:
    client = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, group_id=group, enable_auto_commit=False)
    await client.start()
    try:
        position = await committed_position(client, group, TopicPartition(topic, 0))
        assert position is not None
        return position.offset, OffsetNote.of(position.metadata)
    finally:
        await client.stop()


async def _all_of_the_new_one(kafka: Cluster, agent: Running, topic: str, out: str, guarantee: Guarantee) -> None:
    """Wait until all is done; see that it was done as the guarantee says, and that the offset knows its topic."""
    fresh = [each.key for each in _records("new", NEW)]

    async def written() -> bool:
        assert not agent.failures, agent.failures
        found = await _outputs(kafka, out)
        return all(found[key] for key in fresh)

    await eventually(written, "all of the new topic to be handled", every=0.2)
    await agent.consumed()
    found = await _outputs(kafka, out)
    if guarantee is not Guarantee.AT_LEAST_ONCE:
        assert set(found.values()) == {1}
    offset, note = await _position(kafka, agent.source.group, topic)
    assert offset == NEW
    assert note.topic == await topic_identity(agent.source._consumer._client, TopicPartition(topic, 0))  # type: ignore[union-attr]


def _copier(out: str, swap: Swap, point: str) -> Handler:
    return handler(swap, POINTS[point], lambda record, outbox: outbox.emit(out, record.value))


@pytest.mark.parametrize("guarantee", list(Guarantee))
@pytest.mark.parametrize("point", list(POINTS))
async def test_a_topic_made_anew_is_read_from_its_beginning(kafka: Cluster, guarantee: Guarantee, point: str) -> None:
    topic, out = await _topics(kafka)
    swap = _swap(kafka, topic)
    async with running(
        kafka.bootstrap_servers, [topic], _copier(out, swap, point), guarantee=guarantee, failure=PATIENT,
        max_batch_records=10,
    ) as agent:  # fmt: skip
        await POINTS[point][1](swap, agent)
        await _all_of_the_new_one(kafka, agent, topic, out, guarantee)


@pytest.mark.parametrize("guarantee", list(Guarantee))
async def test_an_offset_that_is_committed_too_late_is_known_to_be_of_the_former_topic(
    kafka: Cluster, guarantee: Guarantee, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, out = await _topics(kafka)
    swap = _swap(kafka, topic)
    swap_before_the_commit(monkeypatch, swap, OLD)
    async with running(
        kafka.bootstrap_servers, [topic], _copier(out, swap, "while fetching"), guarantee=guarantee, failure=PATIENT,
        max_batch_records=10,
    ) as agent:  # fmt: skip
        await eventually(swap.done.is_set, "the swap")
        await _all_of_the_new_one(kafka, agent, topic, out, guarantee)


# -- while no worker is there --------------------------------------------------------------------------


def _copy_to(out: str) -> Callable[[Record, Outbox], None]:
    return lambda record, outbox: outbox.emit(out, record.value)


async def _commit(kafka: Cluster, group: str, topic: str, position: OffsetAndMetadata) -> None:
    client = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, group_id=group, enable_auto_commit=False)
    await client.start()
    try:
        client.assign([TopicPartition(topic, 0)])
        await client.commit({TopicPartition(topic, 0): position})
    finally:
        await client.stop()


async def test_an_offset_of_a_former_topic_is_passed_over_by_the_next_owner_who_says_so_once(
    kafka: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    topic, out = await _topics(kafka)
    group = unique("group")
    async with running(kafka.bootstrap_servers, [topic], _copy_to(out), group=group) as agent:
        await agent.consumed()
    offset, note = await _position(kafka, group, topic)
    await make_anew(kafka.bootstrap_servers, topic)
    await produce(kafka.bootstrap_servers, topic, _records("new", NEW))
    await _commit(kafka, group, topic, note.beside(offset))  # the brokers took it just after they had deleted the topic
    async with running(kafka.bootstrap_servers, [topic], _copy_to(out), group=group) as agent:
        await _all_of_the_new_one(kafka, agent, topic, out, Guarantee.EXACTLY_ONCE)
    assert caplog.text.count("the committed offset 40 is of a topic that was deleted since") == 1


@pytest.mark.parametrize("text", ["", "set by hand", "{}", '{"first":0,"token":"","begin":0,"day":""}', '{"v":9}'])
async def test_offsets_that_others_and_earlier_versions_have_committed_are_gone_on_at(
    kafka: Cluster, text: str
) -> None:
    topic, out = await _topics(kafka)
    group = unique("group")
    await _commit(kafka, group, topic, OffsetAndMetadata(30, text))
    async with running(kafka.bootstrap_servers, [topic], _copy_to(out), group=group) as agent:
        await agent.consumed()
    assert (await _outputs(kafka, out)).total() == OLD - 30


async def test_an_offset_that_a_mirror_has_carried_over_from_another_cluster_is_gone_on_at(kafka: Cluster) -> None:
    topic, out = await _topics(kafka)
    group = unique("group")
    there = TopicIdentity(uuid4(), "another-cluster")
    await _commit(kafka, group, topic, OffsetNote(there).beside(30))
    async with running(kafka.bootstrap_servers, [topic], _copy_to(out), group=group) as agent:
        await agent.consumed()
    assert (await _outputs(kafka, out)).total() == OLD - 30


async def test_where_brokers_tell_no_ids_lanes_go_on_and_keep_none(
    kafka: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_old(client: AIOKafkaClient, node: int, request: object, **more: object) -> object:
        if isinstance(request, _TopicIdRequest):
            raise IncompatibleBrokerVersion("Kafka 2.7")
        return await send(client, node, request, **more)

    send = AIOKafkaClient.send
    monkeypatch.setattr(AIOKafkaClient, "send", too_old)
    topic, out = await _topics(kafka)
    group = unique("group")
    async with running(kafka.bootstrap_servers, [topic], _copy_to(out), group=group) as agent:
        await agent.consumed()
        await produce(kafka.bootstrap_servers, topic, _records("more", 5))
        await agent.consumed()
    assert await _position(kafka, group, topic) == (OLD + 5, OffsetNote())


# -- what is seen of it --------------------------------------------------------------------------------


async def test_a_lane_whose_topic_was_made_anew_halts_and_says_why_once_and_goes_on_by_itself(
    kafka: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    topic, out = await _topics(kafka)
    swap = _swap(kafka, topic)
    slowly = PATIENT.model_copy(update={"pause_interval": 1.0})
    async with running(
        kafka.bootstrap_servers, [topic], _copier(out, swap, "while the loop is blocked"), failure=slowly
    ) as agent:

        def halted() -> LaneStatus | None:
            found = agent.lane(0) if agent.source.lanes else None
            return found if found is not None and found.state is State.HALTED else None

        lane = await eventually(halted, "the lane to halt")
        assert lane is not None
        assert f"{topic} was deleted and made anew" in lane.reason
        health = judge([lane], [], joined=True, stall_after=90)
        assert (health.ready, health.live) == (False, True)
        await _all_of_the_new_one(kafka, agent, topic, out, Guarantee.EXACTLY_ONCE)
        assert judge([agent.lane(0)], [], joined=True, stall_after=90).ready
    assert caplog.text.count("was deleted and made anew") == 1


async def test_an_idle_lane_notices_a_topic_that_has_as_many_records_as_the_former_one(kafka: Cluster) -> None:
    topic, out = await _topics(kafka)
    async with running(kafka.bootstrap_servers, [topic], _copy_to(out)) as agent:
        await agent.consumed()
        await make_anew(kafka.bootstrap_servers, topic)
        await produce(kafka.bootstrap_servers, topic, _records("new", OLD))

        async def all_there() -> bool:
            return (await _outputs(kafka, out)).total() == 2 * OLD

        await eventually(all_there, "the new topic's records", every=0.2)
        assert not agent.failures


async def test_a_topic_of_fewer_records_than_the_former_one_ends_no_process(kafka: Cluster) -> None:
    topic, out = await _topics(kafka)
    swap = Swap(kafka.bootstrap_servers, topic, [b"old 39"], _records("new", 7))
    async with running(
        kafka.bootstrap_servers, [topic], _copier(out, swap, "while the loop is blocked"), failure=PATIENT,
        guarantee=Guarantee.AT_MOST_ONCE, max_batch_records=40,
    ) as agent:  # fmt: skip

        async def all_there() -> bool:
            return sum(key.startswith(b"new") for key in await _outputs(kafka, out) if key) == 7

        await eventually(all_there, "the new topic's records", every=0.2)
        assert not agent.failures
