"""What the lanes of one agent could not read, and what somebody has given up of it."""

from __future__ import annotations

from aiokafka import TopicPartition

from streams.kafka.damage import DamagedBatch


class DamagedBatches:
    """By partition, what a lane could not read; it stays when the lane is made anew, until that has got past it.

    A batch is given up by its first and its next offset: should another lie there by the time that a lane comes by, or
    the same be longer than was shown, nothing of it is.
    """

    def __init__(self) -> None:
        self._found: dict[TopicPartition, DamagedBatch] = {}
        self._given_up: dict[TopicPartition, tuple[int, int]] = {}

    def of(self, source: TopicPartition) -> DamagedBatch | None:
        """Return what cannot be read of a partition; None if there is nothing that is known of."""
        return self._found.get(source)

    def found(self, source: TopicPartition, damaged: DamagedBatch) -> bool:
        """A lane came upon it; tell whether it may be passed over."""
        self._found[source] = damaged
        return self._given_up.get(source) == _place(damaged)

    def give_up(self, source: TopicPartition, first_offset: int, next_offset: int) -> bool:
        """Have the lane pass over exactly this; False if that is not what it cannot read."""
        damaged = self._found.get(source)
        if damaged is None or _place(damaged) != (first_offset, next_offset):
            return False
        self._given_up[source] = (first_offset, next_offset)
        return True

    def passed(self, source: TopicPartition) -> None:
        """The lane is behind it, or the partition is no longer ours."""
        self._found.pop(source, None)
        self._given_up.pop(source, None)


def _place(damaged: DamagedBatch) -> tuple[int, int]:
    return damaged.first_offset, damaged.next_offset
