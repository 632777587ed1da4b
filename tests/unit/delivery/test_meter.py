from __future__ import annotations

from collections import Counter

import pytest
from aiokafka import TopicPartition
from faust.sensors import Monitor
from faust.types.tuples import TP

from streams.delivery.batch import Settled
from streams.delivery.meter import Meter
from streams.delivery.outbox import Output, Tally

ONE, OTHER = TopicPartition("orders", 1), TopicPartition("orders", 2)


@pytest.fixture
def monitor() -> Monitor:
    return Monitor()


@pytest.fixture
def meter(monitor: Monitor) -> Meter:
    return Meter(monitor, "payments")


def settled(tally: Tally, *topics: str, next_offset: int = 10) -> Settled:
    return Settled([Output(topic, 0, None, b"", ()) for topic in topics], [], [], 0, next_offset, tally)


def test_what_was_committed_is_counted_by_how_it_ended(meter: Meter, monitor: Monitor) -> None:
    meter.committed(ONE, settled(Tally(3, Counter(decode=1, validate=2), Counter(guest=4))), 0.01)
    meter.committed(OTHER, settled(Tally(5, Counter(decode=1))), 0.01)
    assert meter.tally == Tally(8, Counter(decode=2, validate=2), Counter(guest=4))
    assert monitor.metric_counts == {
        "payments.consumed": 16,
        "payments.processed": 8,
        "payments.dead_lettered.decode": 2,
        "payments.dead_lettered.validate": 2,
        "payments.skipped.guest": 4,
    }
    assert monitor.events_total == 16
    assert monitor.events_by_stream["payments"] == 16


def test_two_agents_share_a_monitor_and_keep_their_counts_apart(monitor: Monitor) -> None:
    Meter(monitor, "payments").committed(ONE, settled(Tally(1)), 0.01)
    Meter(monitor, "dead_letters").committed(ONE, settled(Tally(2)), 0.01)
    assert monitor.metric_counts["payments.processed"] == 1
    assert monitor.metric_counts["dead_letters.processed"] == 2


def test_a_tally_already_handed_over_is_not_changed_by_later_ones(meter: Meter) -> None:
    first = Tally(1, Counter(decode=1))
    meter.committed(ONE, settled(first), 0.01)
    meter.committed(ONE, settled(Tally(1, Counter(decode=1))), 0.01)
    assert first == Tally(1, Counter(decode=1))


def test_what_was_fetched_is_active_until_it_is_committed(meter: Meter, monitor: Monitor) -> None:
    meter.fetched(ONE, 10, 41)
    assert monitor.messages_received_total == 10
    assert monitor.messages_received_by_topic["orders"] == 10
    assert monitor.tp_read_offsets[TP("orders", 1)] == 41
    assert monitor.messages_active == 10
    meter.committed(ONE, settled(Tally(7)), 0.01)
    assert monitor.messages_active == 3
    meter.committed(ONE, settled(Tally(0, Counter(decode=2), Counter(guest=1))), 0.01)
    assert monitor.messages_active == 0


def test_what_was_sent_is_counted_by_topic(meter: Meter, monitor: Monitor) -> None:
    meter.committed(ONE, settled(Tally(2), "mails", "stock", "mails"), 0.02)
    meter.committed(ONE, settled(Tally(1), "mails"), 0.03)
    assert monitor.messages_sent == 4
    assert monitor.messages_sent_by_topic == {"mails": 3, "stock": 1}
    assert list(monitor.send_latency) == [0.02, 0.03]


def test_a_commit_without_outputs_has_a_latency_and_sent_nothing(meter: Meter, monitor: Monitor) -> None:
    meter.committed(ONE, settled(Tally(0, skipped=Counter(guest=1))), 0.02)
    assert list(monitor.commit_latency) == [0.02]
    assert list(monitor.send_latency) == []


def test_a_handler_s_time_is_told_per_record(meter: Meter, monitor: Monitor) -> None:
    meter.handled(ONE, 4, 2.0)
    assert list(monitor.events_runtime) == [0.5]


def test_every_wait_is_counted(meter: Meter, monitor: Monitor) -> None:
    meter.retrying(ONE)
    meter.retrying(OTHER)
    assert meter.retries == 2
    assert monitor.metric_counts["payments.retries"] == 2


def test_offsets_are_shown_under_fausts_names(meter: Meter, monitor: Monitor) -> None:
    meter.alive(ONE, 100)
    meter.alive(OTHER, None)
    meter.committed(ONE, settled(Tally(1), next_offset=42), 0.01)
    assert monitor.tp_end_offsets == {TP("orders", 1): 100}
    assert monitor.tp_committed_offsets == {TP("orders", 1): 42}


def test_the_end_of_a_log_is_known_once_it_was_seen(meter: Meter) -> None:
    meter.alive(ONE, None)
    assert meter.end_offset(ONE) is None
    meter.alive(ONE, 100)
    assert meter.end_offset(ONE) == 100
    assert meter.end_offset(OTHER) is None


def test_a_partition_given_away_is_not_shown_any_more_but_its_counts_stay(meter: Meter, monitor: Monitor) -> None:
    for source in (ONE, OTHER):
        meter.alive(source, 100)
        meter.fetched(source, 5, 41)
        meter.committed(source, settled(Tally(5)), 0.01)
    meter.released(ONE)
    assert meter.end_offset(ONE) is None
    assert meter.end_offset(OTHER) == 100
    for offsets in (monitor.tp_end_offsets, monitor.tp_read_offsets, monitor.tp_committed_offsets):
        assert set(offsets) == {TP("orders", 2)}
    assert meter.tally.processed == 10


def test_a_partition_given_away_before_it_did_anything_is_no_error(meter: Meter) -> None:
    meter.released(ONE)
    assert meter.end_offset(ONE) is None


def test_records_in_hand_when_a_partition_is_given_away_are_active_no_longer(meter: Meter, monitor: Monitor) -> None:
    meter.fetched(ONE, 10, 9)
    meter.fetched(OTHER, 5, 4)
    meter.committed(ONE, settled(Tally(4)), 0.01)
    meter.released(ONE)
    assert monitor.messages_active == 5
