"""Asking brokers for a topic's id: what goes over the wire, and what older brokers make of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from uuid import UUID

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from streams.kafka.topic_id import TopicIdentity, _TopicIdRequest, topic_identity

_METADATA = 3


def test_the_request_is_the_metadata_request_of_version_10() -> None:
    request = _TopicIdRequest("shop").prepare({_METADATA: (0, 13)})
    assert (request.API_KEY, request.API_VERSION) == (_METADATA, 10)
    one_topic, no_id, name, no_tags = b"\x02", bytes(16), b"\x05shop", b"\x00"
    neither_created_nor_authorised = bytes(3)
    assert request.encode() == one_topic + no_id + name + no_tags + neither_created_nor_authorised + no_tags


def test_a_broker_that_knows_no_ids_is_not_asked() -> None:
    with pytest.raises(NotImplementedError):
        _TopicIdRequest("shop").prepare({_METADATA: (0, 9)})


def test_ids_nulls_and_the_fields_behind_them_are_read_in_their_places() -> None:
    topic = b"\x00\x00" + b"\x05shop" + bytes(range(16)) + b"\x00" + b"\x01" + b"\x80\x00\x00\x00" + b"\x00"
    broker = b"\x00\x00\x00\x01" + b"\x02h" + b"\x00\x00\x23\x84" + b"\x00" + b"\x00"
    answer = bytes(4) + b"\x02" + broker + b"\x00" + b"\x00\x00\x00\x01" + b"\x02" + topic + bytes(4) + b"\x00"
    request = _TopicIdRequest("shop").prepare({_METADATA: (0, 13)})
    read = request.RESPONSE_TYPE.decode(answer)
    _, name, found = read.topic
    assert (name, found.bytes) == ("shop", bytes(range(16)))
    assert read.brokers == [(1, "h", 9092, None, {})]


class _Brokers:
    """Three brokers of which each says something else, and what was asked of whom."""

    def __init__(self, leader: int | None, **answers: object) -> None:
        self._answers = {int(name[1:]): answer for name, answer in answers.items()}
        self._leader = leader
        self.cluster = self
        self.asked: list[int] = []

    def brokers(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(nodeId=node) for node in self._answers]

    def leader_for_partition(self, source: TopicPartition) -> int | None:
        return self._leader

    async def send(self, node: int, request: object, *, group: object) -> object:
        self.asked.append(node)
        answer = self._answers[node]
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(topic=answer, cluster_id="c")


FORMER, NOW = UUID(int=1), UUID(int=2)
SOURCE = TopicPartition("shop", 0)
MISSING, FORBIDDEN = (3, "shop", UUID(int=0)), (29, "shop", UUID(int=0))


async def _asked(brokers: _Brokers) -> TopicIdentity | None:
    return await topic_identity(brokers, SOURCE)


async def test_the_leader_is_asked_first_as_others_may_not_know_yet() -> None:
    for _ in range(10):
        brokers = _Brokers(2, n1=(0, "shop", FORMER), n2=(0, "shop", NOW), n3=(0, "shop", FORMER))
        assert await _asked(brokers) == TopicIdentity(NOW, "c")
        assert brokers.asked == [2]


async def test_others_are_asked_where_the_leader_does_not_answer_or_there_is_none() -> None:
    answers = {"n1": RequestTimedOutError(), "n2": (0, "shop", NOW)}
    for leader in (1, None, -1):
        assert await _asked(_Brokers(leader, **answers)) == TopicIdentity(NOW, "c")


async def test_a_topic_is_missing_when_no_broker_knows_it_for_a_second() -> None:
    brokers = _Brokers(1, n1=MISSING, n2=RequestTimedOutError())
    with pytest.raises(UnknownTopicOrPartitionError):
        await _asked(brokers)
    assert len(brokers.asked) == 20


async def test_brokers_that_are_too_old_tell_nothing_and_one_that_does_not_answer_is_asked_again() -> None:
    assert await _asked(_Brokers(1, n1=IncompatibleBrokerVersion(), n2=NotImplementedError())) is None
    assert await _asked(_Brokers(1, n1=(0, "shop", UUID(int=0)))) is None, "its cluster is not upgraded to the end"
    silent = _Brokers(1, n1=RequestTimedOutError(), n2=IncompatibleBrokerVersion())
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(_asked(silent), 0.3)
    assert silent.asked.count(1) > 1


async def test_a_topic_that_one_may_not_see_is_not_taken_for_missing() -> None:
    with pytest.raises(TopicAuthorizationFailedError):
        await _asked(_Brokers(1, n1=FORBIDDEN))
