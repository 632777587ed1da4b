"""Rows in files, exactly once: a commit in two phases, with Kafka's transaction as the arbiter.

::

    rows ─▶ written aside, on the disk ─▶ ONE Kafka transaction ─▶ moved to where readers look
                                          dead letters, offset,
                                          and the files' token

What happens between two of these steps decides nothing: the offset's metadata does. Whoever becomes the lane's
owner reads it; files aside that carry its token are committed, and are moved now; all others of the partition are
not. A former owner is fenced from the transaction, so whatever it writes aside stays there.

Those others are deleted after the new owner's next commit, and no sooner. An owner that is frozen while it looks
what is aside may find files of its successor when it wakes up; that it can still commit proves that there was none.

"Rename, then commit" would be simpler and is not enough: an owner that is frozen before its rename, and wakes up
after its successor has written the same rows, would show them twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import pyarrow as pa
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from streams.delivery.batch import Settled
from streams.delivery.clients import make_producer
from streams.delivery.crash_points import crash_point
from streams.delivery.group_offsets import committed_position
from streams.delivery.guarantee import ExactlyOnce, transactional_id
from streams.failure.errors import DependencyUnavailable
from streams.parquet.folder import Folder
from streams.parquet.ranges import Mark, WaitingFile, note_days
from streams.parquet.rows import PlatformRow, as_batch, by_day
from streams.platform_settings import PlatformSettings
from streams.settings import KafkaSettings

logger = logging.getLogger(__name__)

DEPENDENCY: Final = "platform files"
"""The name under which breakers and pages show it."""

T = TypeVar("T")


# 2,000 orders of 20 lines take 100 ms, and a thread would not help: Arrow reads Python's objects with the GIL held.
# 128 of them are some 6 ms between two chances for heartbeats and the other lanes.
_ROWS_BETWEEN_YIELDS: Final = 128


@dataclass(frozen=True, slots=True)
class InFiles:
    """Finish the batches of an agent in files.

    Attributes:
        folder: where they are.
        settings: when a file is large or old enough.
    """

    folder: Folder
    settings: PlatformSettings

    def make(
        self, kafka: KafkaSettings, consumer: AIOKafkaConsumer, group: str, source: TopicPartition
    ) -> FileFinisher:
        """Make the finisher of one partition."""
        producer = make_producer(kafka, transactional_id=transactional_id(group, source))
        return FileFinisher(producer, consumer, group, source, self.folder, self.settings)


class FileFinisher(ExactlyOnce):
    """Collects the rows of one partition, and commits them when there are enough, or they are old enough.

    What is held when the lane stops is forgotten: it is not committed, so the next owner reads it again.
    """

    takes_effects = True

    def __init__(
        self,
        producer: AIOKafkaProducer,
        consumer: AIOKafkaConsumer,
        group: str,
        source: TopicPartition,
        folder: Folder,
        settings: PlatformSettings,
    ) -> None:
        super().__init__(producer, consumer, group, source)
        self._folder = folder
        self._settings = settings
        self._first: int | None = None
        """Where the range begins that is being collected; None if it begins with the first record."""
        self._held: list[Settled] = []
        self._batches: list[pa.RecordBatch] = []
        self._held_since = 0.0
        self._last: Settled | None = None
        self._leftovers: list[WaitingFile] = []
        """Files aside that were not committed when this owner came; its own next commit proves that nobody will."""
        self._unpublished: tuple[list[WaitingFile], list[Settled]] | None = None
        """What the transaction has committed, and is still aside."""

    async def committed(self) -> int | None:
        """Return the offset to go on at, after what a former owner committed is shown.

        Raises:
            DependencyUnavailable: the folder cannot be used.
        """
        position = await committed_position(self._consumer, self._group, self._source)
        mark = Mark.of(position.metadata) if position is not None else None
        left = [
            each
            for each in await self._off_loop(self._folder.waiting)
            if (each.topic, each.partition) == (self._source.topic, self._source.partition)
        ]
        kept = [each for each in left if mark is not None and each.token == mark.token]
        if kept and position is not None:
            logger.info("%s: %d files were committed and are shown now", self._source, len(kept))
            await self._off_loop(lambda: self._folder.publish(kept, position.offset))
        self._leftovers = [each for each in left if each not in kept]
        if position is None:
            return None
        end: int = position.offset
        self._first = mark.first if mark is not None and not mark.token else end
        return end

    async def finish(self, settled: Settled) -> Sequence[Settled]:
        """Collect the rows; commit them if there are enough.

        Raises:
            DependencyUnavailable: the folder cannot be used.
        """
        if settled is not self._last:  # or it is the second attempt at the same
            await self._hold(settled)
            self._last = settled
        return await self._commit_if_due()

    async def idle(self) -> Sequence[Settled]:
        """Commit the rows if they are old enough."""
        return await self._commit_if_due()

    async def _hold(self, settled: Settled) -> None:
        if settled.effects:
            self._batches.append(await _in_slices(settled.effects))
        if not self._held:
            self._held_since = time.monotonic()
        if self._first is None:
            self._first = settled.first_offset
        # Without the rows: as objects they take three times the space that they take as columns.
        self._held.append(replace(settled, effects=[]))
        self.holding = True

    async def _commit_if_due(self) -> Sequence[Settled]:
        if self._unpublished is None and self._is_due():
            await self._commit_files()
        if self._unpublished is None:
            return ()
        files, done = self._unpublished
        await self._off_loop(lambda: self._folder.publish(files, done[-1].next_offset))
        self._unpublished = None
        self.holding = bool(self._held)
        await self._discard_leftovers()
        return done

    async def _discard_leftovers(self) -> None:
        if not self._leftovers:
            return
        try:
            await self._off_loop(lambda: self._folder.discard(self._leftovers))
        except DependencyUnavailable as error:
            logger.warning("%s: files that were never committed stay aside for now: %s", self._source, error.reason)
        else:
            self._leftovers = []

    def _is_due(self) -> bool:
        limits = self._settings
        return bool(self._held) and (
            time.monotonic() - self._held_since >= limits.roll_age
            or sum(batch.num_rows for batch in self._batches) >= limits.roll_rows
            or sum(batch.nbytes for batch in self._batches) >= limits.roll_bytes
        )

    async def _commit_files(self) -> None:
        """Write what is held aside, and commit it: from then on it counts, wherever the files are."""
        assert self._first is not None, "set when something is held"
        token = uuid.uuid4().hex
        files = await self._off_loop(lambda: self._write_aside(token)) if self._batches else []
        end = self._held[-1].next_offset
        mark = Mark(self._first, token if files else "")
        outputs = [output for settled in self._held for output in settled.outputs]
        await self._commit(outputs, OffsetAndMetadata(end, mark.to_text()))
        crash_point("before_rename")
        self._unpublished = files, self._held
        self._held, self._batches = [], []
        if files:
            self._first = end

    def _write_aside(self, token: str) -> list[WaitingFile]:
        assert self._first is not None
        tables = by_day(self._batches)
        files = [
            WaitingFile(self._source.topic, self._source.partition, self._first, token, day) for day in sorted(tables)
        ]
        try:
            for file in files:
                self._folder.write_aside(file, tables[file.day].replace_schema_metadata(note_days(tables)))
        except OSError:
            # The next attempt has a token of its own: a disk that is full would be kept full by the attempts.
            with contextlib.suppress(OSError):
                self._folder.discard(files)
            raise
        return files

    async def _off_loop(self, step: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(step)
        except FileNotFoundError as error:
            # A successor has settled it before us; its commit fences ours.
            raise DependencyUnavailable(DEPENDENCY, f"a file has gone: {type(error).__name__}") from error
        except OSError as error:
            raise DependencyUnavailable(DEPENDENCY, f"{self._folder.url}: {error.strerror or error}") from error


async def _in_slices(rows: Sequence[PlatformRow]) -> pa.RecordBatch:
    """Turn rows into columns, and let others run in between."""
    slices = []
    for start in range(0, len(rows), _ROWS_BETWEEN_YIELDS):
        slices.append(as_batch(rows[start : start + _ROWS_BETWEEN_YIELDS]))
        await asyncio.sleep(0)
    (batch,) = pa.Table.from_batches(slices).combine_chunks().to_batches()
    return batch
