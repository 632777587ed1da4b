"""Counts what the lanes do and feeds Faust's monitor, whose page is the worker's statistics.

With Faust's own consumer off, its monitor would show zeros: the lanes tell it what it would have seen.
"""

from __future__ import annotations

from collections import Counter

from aiokafka import TopicPartition
from faust.sensors import Monitor
from faust.types.tuples import TP

from streams.delivery.batch import Settled
from streams.delivery.outbox import Tally


class Meter:
    """What one agent's lanes report.

    Arguments:
        monitor: Faust's.
        agent: the agent's name, as it appears in the statistics.

    Attributes:
        tally: how all records committed so far ended.
    """

    def __init__(self, monitor: Monitor, agent: str) -> None:
        self.tally = Tally()
        self.retries = 0
        self._in_hand: Counter[TopicPartition] = Counter()
        self._monitor = monitor
        self._agent = agent

    def alive(self, source: TopicPartition, end_offset: int | None) -> None:
        """A fetch came back, with or without records."""
        if end_offset is not None:
            self._monitor.tp_end_offsets[TP(*source)] = end_offset

    def end_offset(self, source: TopicPartition) -> int | None:
        """The log's end as last seen."""
        return self._monitor.tp_end_offsets.get(TP(*source))

    def opened(self, dependency: str) -> None:
        """A dependency went down."""
        self._monitor.metric_counts[f"breaker.{dependency}.opened"] += 1

    def halted(self, source: TopicPartition) -> None:
        """A lane halted; what it had in hand will be fetched again."""
        self._monitor.metric_counts[f"{self._agent}.halted"] += 1
        self.opened_anew(source)

    def opened_anew(self, source: TopicPartition) -> None:
        """What a lane had in hand will be fetched again, by a new one."""
        self._monitor.messages_active -= self._in_hand.pop(source, 0)

    def deleted(self, records: int) -> None:
        """Records were deleted from the log before they were read."""
        self._monitor.metric_counts[f"{self._agent}.deleted_unread"] += records

    def lost(self, records: int) -> None:
        """Records whose offset had moved were not handled; at_most_once allows it, and it is counted."""
        self.tally.skipped["lost"] += records
        self._monitor.metric_counts[f"{self._agent}.skipped.lost"] += records
        self._monitor.metric_counts[f"{self._agent}.consumed"] += records

    def fetched(self, source: TopicPartition, records: int, last_offset: int) -> None:
        """Records were fetched."""
        monitor = self._monitor
        monitor.messages_received_total += records
        monitor.messages_active += records
        self._in_hand[source] += records
        monitor.messages_received_by_topic[source.topic] += records
        monitor.tp_read_offsets[TP(*source)] = last_offset

    def handled(self, source: TopicPartition, records: int, seconds: float) -> None:
        """The agent gave a batch back."""
        self._monitor.events_runtime.append(seconds / records)

    def retrying(self, source: TopicPartition) -> None:
        """A batch waits before its next attempt."""
        self.retries += 1
        self._monitor.metric_counts[f"{self._agent}.retries"] += 1

    def committed(self, source: TopicPartition, settled: Settled, seconds: float) -> None:
        """Records were brought to their end and committed."""
        monitor, tally = self._monitor, settled.tally
        self.tally.add(tally)
        monitor.events_total += tally.consumed
        monitor.messages_active -= tally.consumed
        self._in_hand[source] -= tally.consumed
        monitor.events_by_stream[self._agent] += tally.consumed
        monitor.commit_latency.append(seconds)
        monitor.tp_committed_offsets[TP(*source)] = settled.next_offset
        counts = monitor.metric_counts
        counts[f"{self._agent}.consumed"] += tally.consumed
        counts[f"{self._agent}.processed"] += tally.processed
        for stage, number in tally.dead_letters.items():
            counts[f"{self._agent}.dead_lettered.{stage}"] += number
        for reason, number in tally.skipped.items():
            counts[f"{self._agent}.skipped.{reason}"] += number
        self._count_sent(settled, seconds)

    def _count_sent(self, settled: Settled, seconds: float) -> None:
        by_topic = Counter([output.topic for output in settled.outputs])
        self._monitor.messages_sent += len(settled.outputs)
        self._monitor.messages_sent_by_topic.update(by_topic)
        if settled.outputs:
            self._monitor.send_latency.append(seconds)

    def released(self, source: TopicPartition) -> None:
        """The partition is no longer this worker's."""
        self._monitor.messages_active -= self._in_hand.pop(source, 0)
        for offsets in (
            self._monitor.tp_committed_offsets,
            self._monitor.tp_read_offsets,
            self._monitor.tp_end_offsets,
        ):
            offsets.pop(TP(*source), None)
