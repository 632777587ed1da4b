from __future__ import annotations

from streams.delivery.outbox import ENVELOPE_BYTES
from streams.settings import FailureSettings, Settings, TopicSettings
from streams.settings.topics import DEAD_LETTER_ROOM
from streams.topics import CONSUMED, EVENTS, dead_letter_topics, declared_topics


def test_every_event_topic_and_every_dead_letter_topic_is_declared_once() -> None:
    names = [spec.name for spec in declared_topics(Settings())]
    assert names == [
        "payment.completed",
        "payment.cancelled",
        "platform.orders",
        "notification.requests",
        "inventory.movements",
        "analytics.sales",
        "payment.completed.DLT",
        "payment.cancelled.DLT",
        "platform.orders.DLT",
        "notification.requests.DLT",
        "inventory.movements.DLT",
        "analytics.sales.DLT",
    ]


def test_every_topic_that_is_read_is_an_event_topic_and_has_a_dead_letter_topic() -> None:
    assert set(CONSUMED) <= set(EVENTS)
    assert len(dead_letter_topics(Settings())) == len(CONSUMED) > 0


def test_the_dead_letter_suffix_is_a_setting() -> None:
    spring = Settings(failure=FailureSettings(dead_letter_suffix="-dlt"))
    assert dead_letter_topics(spring) == tuple(topic + "-dlt" for topic in CONSUMED)
    assert "payment.completed-dlt" in [spec.name for spec in declared_topics(spring)]


def test_all_topics_have_as_many_partitions_so_that_outputs_keep_their_number() -> None:
    specs = declared_topics(Settings(topics=TopicSettings(partitions=7)))
    assert {spec.partitions for spec in specs} == {7}


def test_replication_and_its_minimum_are_declared_for_every_topic() -> None:
    specs = declared_topics(Settings(topics=TopicSettings(replication=3, min_insync_replicas=2)))
    assert {spec.replication for spec in specs} == {3}
    assert {spec.config["min.insync.replicas"] for spec in specs} == {"2"}


def test_events_and_dead_letters_are_kept_for_their_own_time_in_milliseconds() -> None:
    specs = declared_topics(Settings(topics=TopicSettings(retention=1.5, dead_letter_retention=86_400)))
    kept = {spec.name: spec.config["retention.ms"] for spec in specs}
    assert {kept.pop(topic) for topic in dead_letter_topics(Settings())} == {"86400000"}
    assert set(kept.values()) == {"1500"}


def test_by_default_a_dead_letter_outlives_its_event() -> None:
    kept = {spec.name: int(spec.config["retention.ms"]) for spec in declared_topics(Settings())}
    assert kept["payment.completed.DLT"] > kept["payment.completed"]


def test_no_topic_is_compacted() -> None:
    assert {spec.config["cleanup.policy"] for spec in declared_topics(Settings())} == {"delete"}


def test_a_dead_letter_topic_has_room_for_the_largest_event_and_the_headers_of_its_letter() -> None:
    specs = declared_topics(Settings(topics=TopicSettings(max_message_bytes=1_500_000)))
    largest = {spec.name: int(spec.config["max.message.bytes"]) for spec in specs}
    assert {largest.pop(topic) for topic in dead_letter_topics(Settings())} == {1_500_000 + DEAD_LETTER_ROOM}
    assert set(largest.values()) == {1_500_000}
    longest = FailureSettings(max_trace_bytes=32_768, max_message_bytes=4_096)
    assert longest.max_trace_bytes + 2 * longest.max_message_bytes < DEAD_LETTER_ROOM - ENVELOPE_BYTES
