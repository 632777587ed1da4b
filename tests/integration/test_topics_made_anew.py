"""A topic that is deleted and made anew under a lane: nothing of the new one is skipped, whatever the lane was doing."""

from __future__ import annotations

from collections import Counter

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from support.agent import Running, running, unique
from support.kafka import create_topic, produce, read_topic
from support.payments import Raw
from support.swapping import PATIENT, POINTS, Swap, handler, swap_before_the_commit
from support.waiting import eventually

from streams.kafka.group_offsets import committed_position
from streams.kafka.offset_note import OffsetNote
from streams.kafka.topic_id import topic_identity
from streams.sandbox import Cluster
from streams.settings import Guarantee

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


def _copier(out: str, swap: Swap, point: str):  # type: ignore[no-untyped-def]
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
