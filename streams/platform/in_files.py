"""Rows in files, exactly once: a commit in two phases, with Kafka's transaction as the arbiter.

::

    rows ─▶ written aside, on the disk ─▶ ONE Kafka transaction ─▶ moved to where readers look
                                          dead letters, offset,
                                          and the files' token

What happens between two of these steps decides nothing: the offset's metadata does. Whoever becomes the lane's
owner reads it; files aside that carry its token are committed, and are moved now; all others of the partition are
not. A former owner is fenced from the transaction, so whatever it writes aside stays there.

Those others are deleted after an owner's next commit, and no sooner. An owner that is frozen while it looks what is
aside may find files of its successor when it wakes up; that it can still commit proves that there was none.

"Rename, then commit" would be simpler and is not enough: an owner that is frozen before its rename, and wakes up
after its successor has written the same rows, would show them twice.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

import pyarrow as pa
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams.delivery.batch import Settled
from streams.delivery.crash_points import crash_point
from streams.delivery.guarantee import ExactlyOnce, transactional_connections, transactional_id
from streams.failure.errors import DependencyUnavailable, OutputRefused, OutputUnserved, TopicDeleted, TopicMadeAnew
from streams.kafka.broker_step import in_time
from streams.kafka.clients import make_producer
from streams.kafka.group_offsets import committed_position
from streams.kafka.offset_note import OffsetNote
from streams.platform.folder import Folder
from streams.platform.off_loop import off_loop
from streams.platform.ranges import FileRange, Mark, WaitingFile, known_to, note_days
from streams.platform.rows import as_batch_in_turns, by_day
from streams.settings import KafkaSettings, PlatformSettings

logger = logging.getLogger(__name__)

DEPENDENCY: Final = "platform files"
"""The name under which breakers and pages show it."""

# A range may have a file for each day of years. A store that takes a second for each is slow, and its lane is none
# that the watchdog is to miss (PAYSTREAM_DELIVERY__STALL_AFTER, 90 s).
_FILES_A_STEP: Final = 16

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class InFiles:
    """Finish the batches of an agent in files.

    Attributes:
        folder: where they are.
        settings: when a file is large or old enough.
    """

    folder: Folder
    settings: PlatformSettings

    @property
    def transactional(self) -> bool:
        """Files are committed by a transaction, whatever the guarantee is."""
        return True

    def connections(self, brokers: int, *, dead_letters: bool) -> int:
        """Say how many connections the producer of one partition may come to have."""
        return transactional_connections(brokers)

    def make(
        self, kafka: KafkaSettings, consumer: AIOKafkaConsumer, group: str, source: TopicPartition
    ) -> FileFinisher:
        """Make the finisher of one partition."""
        producer = make_producer(kafka, transactional_id=transactional_id(group, source))
        return FileFinisher(producer, consumer, group, source, self.folder, self.settings, kafka.deadline)


class FileFinisher(ExactlyOnce):
    """Collects the rows of one partition, and commits them when there are enough, or they are old enough.

    What is held when the process dies is forgotten: it is not committed, so the next owner reads it again.
    """

    takes_effects = True
    bounds_itself = True

    def __init__(
        self,
        producer: AIOKafkaProducer,
        consumer: AIOKafkaConsumer,
        group: str,
        source: TopicPartition,
        folder: Folder,
        settings: PlatformSettings,
        deadline: float,
    ) -> None:
        super().__init__(producer, consumer, group, source)
        self._deadline = deadline
        self._folder = folder
        self._settings = settings
        self._first: int | None = None
        """Where the range begins that is being collected; None if it begins with the first record."""
        self._held: list[Settled] = []
        self._batches: list[pa.RecordBatch] = []
        self._held_since = 0.0
        self._held_rows = 0
        self._held_bytes = 0
        self._last: int | None = None
        """Where what was taken in hand last ends: by it a second attempt at the same is known."""
        self._begin: int | None = None
        """Where the partition's very first range begins."""
        self._spared: frozenset[str] = frozenset()
        """Tokens of files aside that may have been committed: somebody set the offset, and its mark is gone."""
        self._leftovers: list[WaitingFile] = []
        """Files aside that were not committed before this owner's last commit, which proves that nobody will."""
        self._unpublished: tuple[list[WaitingFile], list[Settled]] | None = None
        """What the transaction has committed, and is still aside."""

    async def committed(self) -> int | None:
        """Return the offset to go on at, after what a former owner committed is shown.

        Raises:
            DependencyUnavailable: the folder cannot be used.
            FilesDisagree: its files and the offset tell different stories.
            TopicDeleted: there is no such topic.
        """
        await self._in_time("asking which topic it is", self.topic.begin())
        position = await self._in_time(
            "reading the committed offset", committed_position(self._consumer, self._group, self._source)
        )
        if position is None:
            await self._off_loop(lambda: self._folder.refuse(*self._source))
            return None
        end: int = position.offset
        mark = Mark.of(OffsetNote.of(position.metadata))
        aside = await self._off_loop(self._aside)
        if not self.topic.is_ours(position):
            # What the former topic's lane has committed is to be seen, whatever there is to be read now.
            await self._publish_kept(mark, aside, end)
            await self._off_loop(lambda: self._folder.refuse(*self._source, former=True))
            return None
        if mark is None:
            self._spare([each for each in aside if each.first < end])
            self._first = self._begin = end
        elif mark.token:
            await self._show(mark, aside, end)
            self._first, self._begin = end, mark.begin
        else:
            self._first, self._begin = mark.first, mark.begin
        return end

    def _aside(self) -> list[WaitingFile]:
        """List the files of this partition that wait aside."""
        return [each for each in self._folder.waiting() if (each.topic, each.partition) == self._source]

    async def _publish_kept(self, mark: Mark | None, aside: Sequence[WaitingFile], end: int) -> None:
        """Move what is committed and still aside to where readers look."""
        kept = [each for each in aside if mark is not None and each.token == mark.token]
        if kept:
            logger.info("%s-%d: %d files were committed and are shown now", *self._source, len(kept))
            await self._in_steps(kept, lambda some: self._folder.publish(some, end))

    async def _show(self, mark: Mark, aside: Sequence[WaitingFile], end: int) -> None:
        """See to it that all that is committed is where readers look."""
        await self._publish_kept(mark, aside, end)
        covered = FileRange(self._source.topic, self._source.partition, mark.first, end)
        await self._off_loop(lambda: self._folder.require(covered, mark.day))
        # A listing may be of a moment ago (NFS and some stores remember it): the first day's file names its fellows.
        days = await self._off_loop(lambda: self._folder.days_of_range(covered, mark.day))
        await self._in_steps(sorted(days - {mark.day}), lambda some: self._folder.require(covered, *some))

    def _spare(self, aside: Sequence[WaitingFile]) -> None:
        if aside:
            logger.warning(
                "%s-%d: the group's offset was set by somebody else, so it is not known whether %d files aside of "
                "earlier offsets were committed. They stay where they are: %s",
                *self._source, len(aside), ", ".join(each.path for each in aside),
            )  # fmt: skip
        self._spared = frozenset(each.token for each in aside)

    async def finish(self, settled: Settled) -> Sequence[Settled]:
        """Collect the rows; commit them if there are enough.

        Raises:
            DependencyUnavailable: the folder cannot be used.
        """
        if settled.next_offset != self._last:  # or it is the second attempt at the same
            await self._hold(settled)
            self._last = settled.next_offset
        return await self._commit_if(self._is_due())

    async def idle(self) -> Sequence[Settled]:
        """Commit the rows if they are old enough."""
        return await self._commit_if(self._is_due())

    async def flush(self) -> Sequence[Settled]:
        """Commit the rows, however few they are."""
        return await self._commit_if(bool(self._held))

    async def _hold(self, settled: Settled) -> None:
        if settled.effects:
            rows = await as_batch_in_turns(settled.effects)
            self._batches.append(rows)
            self._held_rows += rows.num_rows
            self._held_bytes += rows.nbytes
        self._held_bytes += sum(len(output.value or b"") for output in settled.outputs)
        if not self._held:
            self._held_since = time.monotonic()
        if self._first is None:
            self._first = self._begin = settled.first_offset
        # Without the rows: as objects they take three times the space that they take as columns.
        self._held.append(replace(settled, effects=[]))
        self.holding = True

    async def _commit_if(self, due: bool) -> Sequence[Settled]:
        if self._unpublished is None and due:
            await self._commit_files()
        if self._unpublished is None:
            return ()
        files, done = self._unpublished
        await self._in_steps(files, lambda some: self._folder.publish(some, done[-1].next_offset))
        self._unpublished = None
        self.holding = bool(self._held)
        await self._discard_leftovers()
        return done

    async def _discard_leftovers(self) -> None:
        if not self._leftovers:
            return
        try:
            await self._in_steps(self._leftovers, self._folder.discard)
        except DependencyUnavailable as error:
            logger.warning("%s-%d: files that were never committed stay aside for now: %s", *self._source, error.reason)

    def _is_due(self) -> bool:
        limits = self._settings
        return bool(self._held) and (
            time.monotonic() - self._held_since >= limits.roll_age
            or self._held_rows >= limits.roll_rows
            or self._held_bytes >= limits.roll_bytes
        )

    async def _commit_files(self) -> None:
        """Write what is held aside, and commit it: from then on it counts, wherever the files are."""
        assert self._first is not None, "set when something is held"
        assert self._begin is not None, "likewise"
        # Of files that are there before a commit that succeeds, none is a successor's: it would have fenced this one.
        leftovers = [each for each in await self._off_loop(self._aside) if each.token not in self._spared]
        files = await self._write_aside(uuid.uuid4().hex) if self._batches else []
        token, day = (files[0].token, files[0].day) if files else ("", "")
        end = self._held[-1].next_offset
        mark = Mark(self._first, token, self._begin, day)
        outputs = [output for settled in self._held for output in settled.outputs]
        try:
            await self._in_time(
                "committing files", self._commit(outputs, self.topic.note(end, **mark.fields())), committing=True
            )
        except (OutputRefused, OutputUnserved, TopicDeleted, TopicMadeAnew, DependencyUnavailable):
            # Raised before the offset was sent. Each attempt has files of its own.
            await self._clear(files)
            raise
        crash_point("before_rename")
        self._unpublished, self._leftovers = (files, self._held), leftovers
        self._held, self._batches, self._held_rows, self._held_bytes = [], [], 0, 0
        if files:
            self._first = end

    async def _write_aside(self, token: str) -> list[WaitingFile]:
        assert self._first is not None
        tables = await off_loop(lambda: by_day(self._batches))
        source, days = self._source, list(tables)
        files = [WaitingFile(source.topic, source.partition, self._first, token, day) for day in days]
        try:
            for file in files:
                table = tables[file.day].replace_schema_metadata(note_days(known_to(file.day, days)))
                await self._off_loop(partial(self._folder.write_aside, file, table))
                self.progressed()
            await self._off_loop(self._folder.sync_aside)
        except DependencyUnavailable:
            # The next attempt has a token of its own: a disk that is full would be kept full by the attempts.
            await self._clear(files)
            raise
        return files

    async def _clear(self, files: Sequence[WaitingFile]) -> None:
        """Delete the files of an attempt that has failed; what cannot be deleted is a leftover of the next commit's."""
        with contextlib.suppress(DependencyUnavailable):
            await self._in_steps(files, self._folder.discard)

    async def _in_time(self, doing: str, step: Awaitable[T], *, committing: bool = False) -> T:
        """Await a step that needs brokers. Their deadline is not for files, which may be many and far away."""
        source = self._source
        who = f"{self._group}:{source.topic}-{source.partition}"
        return await in_time(who, doing, step, self._deadline, committing=committing)

    async def _in_steps(self, things: Sequence[S], step: Callable[[Sequence[S]], object]) -> None:
        """Take a step for some files at a time, and say each time that it has got somewhere."""
        for start in range(0, len(things), _FILES_A_STEP):
            await self._off_loop(partial(step, things[start : start + _FILES_A_STEP]))
            self.progressed()

    async def _off_loop(self, step: Callable[[], T]) -> T:
        try:
            return await off_loop(step)
        except OSError as error:
            raise DependencyUnavailable(DEPENDENCY, f"{self._folder.url}: {error.strerror or error}") from error
