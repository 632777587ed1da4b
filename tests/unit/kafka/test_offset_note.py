"""What lanes keep beside an offset: read by the next version and the last one, and short enough for brokers."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from streams.kafka.offset_note import OffsetNote
from streams.kafka.topic_id import TopicIdentity

TOPIC = TopicIdentity(UUID(bytes=bytes(range(16))), "MkU3OEVBNTcwNTJENDM2Qk")
FILES = {"first": 2**63 - 1, "token": "0" * 32, "begin": 2**63 - 1, "day": "2010-12-01"}
# What brokers take by default is 4,096 bytes; what the documentation asks for is 512.
ASKED_FOR = 512


def test_what_is_written_is_read() -> None:
    for note in (OffsetNote(), OffsetNote(TOPIC), OffsetNote(TOPIC, FILES), OffsetNote(None, FILES)):
        assert OffsetNote.of(note.to_text()) == note
        assert len(note.to_text()) < ASKED_FOR


def test_an_id_is_written_as_kafkas_tools_show_it() -> None:
    assert json.loads(OffsetNote(TOPIC).to_text()) == {
        "v": 1, "topic": "AAECAwQFBgcICQoLDA0ODw", "cluster": "MkU3OEVBNTcwNTJENDM2Qk",
    }  # fmt: skip


def test_where_nothing_is_known_nothing_is_written() -> None:
    assert OffsetNote().to_text() == ""


@pytest.mark.parametrize("text", ["", "null", "[]", "7", '"text"', "{}", "set by hand", '{"v":1}'])
def test_of_what_others_have_committed_nothing_is_known(text: str) -> None:
    assert OffsetNote.of(text) == OffsetNote()


def test_what_files_wrote_before_there_was_a_version_is_read() -> None:
    assert OffsetNote.of(json.dumps(FILES)) == OffsetNote(None, FILES)


def test_fields_of_a_later_version_are_kept_and_another_format_is_not_read() -> None:
    later = {**json.loads(OffsetNote(TOPIC).to_text()), "more": [1, 2]}
    assert OffsetNote.of(json.dumps(later)) == OffsetNote(TOPIC, {"more": [1, 2]})
    assert OffsetNote.of(json.dumps({**later, "v": 2})) == OffsetNote()


@pytest.mark.parametrize("topic", ["", "AAEC", "not base64 at all: ?", 7, None])
def test_an_id_that_is_none_is_not_known(topic: object) -> None:
    assert OffsetNote.of(json.dumps({"v": 1, "topic": topic, "cluster": "c"})).topic is None


def test_topics_are_told_apart_within_a_cluster_only() -> None:
    another = TopicIdentity(UUID(int=7), TOPIC.cluster)
    assert another.is_another_than(TOPIC)
    assert not TOPIC.is_another_than(TOPIC)
    assert not TOPIC.is_another_than(None), "nothing was said"
    assert not TopicIdentity(UUID(int=7), "another").is_another_than(TOPIC), "a mirror carried it over"
