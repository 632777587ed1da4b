"""Asking brokers for a topic's id: what goes over the wire, and what older brokers make of it."""

from __future__ import annotations

import pytest

from streams.kafka.topic_id import _TopicIdRequest

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
