"""The folder of the files: written aside, shown once they are committed, and read back. Every call may block."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from streams.failure.errors import FilesDisagree
from streams.platform.ranges import ASIDE, FileRange, WaitingFile, noted_days
from streams.platform.rows import SCHEMA, days_of, said_by
from streams.platform.storage import Storage

_COMPRESSION: Final = "zstd"
# Of one row of a real shop, 7 KB of Parquet are 4 KB of dictionaries, statistics and Arrow's own copy of the schema. Up
# to about as many rows they are larger than what they save or let a reader pass over; dictionaries halve large files.
_FEW_ROWS: Final = 64
_DAY: Final = re.compile(r"dt=(\d{4}-\d\d-\d\d)")


@dataclass(frozen=True, slots=True)
class ShownFile:
    """A file of ours where readers look.

    Attributes:
        covered: the offsets that its name says.
        day: in whose folder it is.
        name: within the folder.
    """

    covered: FileRange
    day: str
    name: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What readers see.

    Attributes:
        files: those of ours.
        foreign: names of Parquet files that are none of ours, or not where they belong.
    """

    files: list[ShownFile]
    foreign: list[str]


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds.

    Attributes:
        offsets: of its rows.
        days: of its rows.
        range_days: of which its range has files, as it says itself.
        said: of each row the record's id, and a digest of what it says.
    """

    offsets: list[int]
    days: frozenset[str]
    range_days: frozenset[str]
    said: list[tuple[str, str]] = field(default_factory=list, compare=False)


class Folder:
    """Writes files aside, moves them to where readers look, and lists them.

    Arguments:
        url: a local path, or a URL that fsspec knows.

    Raises:
        SetupError: nothing installed here knows this kind of URL.
    """

    def __init__(self, url: str) -> None:
        self._storage = Storage(url)
        self.url = self._storage.url

    def is_missing(self) -> bool:
        """Tell whether it is a local folder that is not there: before the first file, or at another path."""
        return self._storage.lacks_its_root()

    def write_aside(self, file: WaitingFile, table: pa.Table) -> None:
        """Write a file where no reader looks. It is sure to survive a power cut after :meth:`sync_aside`.

        Raises:
            OSError: it could not be written.
        """
        content, many = pa.BufferOutputStream(), table.num_rows > _FEW_ROWS
        with pq.ParquetWriter(
            content,
            table.schema,
            compression=_COMPRESSION,
            # By these 'paystream platform check' finds a damaged file.
            write_page_checksum=True,
            # All of our types are Parquet's as well, so it would say nothing new.
            store_schema=False,
            use_dictionary=many,
            write_statistics=many,
        ) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata(table.schema.metadata or {})
        with self._storage.reaching():
            self._storage.write(file.path, memoryview(content.getvalue()))

    def sync_aside(self) -> None:
        """Make the names of all files that were written aside reach the disk: once for all, as that takes its time.

        Raises:
            OSError: they could not.
        """
        with self._storage.reaching():
            self._storage.sync(self._storage.make_folder(ASIDE))

    def publish(self, files: Iterable[WaitingFile], next_offset: int) -> None:
        """Move files to where readers look. One that is not aside any more was moved by a former attempt.

        Raises:
            OSError: one could not be moved.
            FilesDisagree: one is neither aside nor there.
        """
        changed = set()
        with self._storage.reaching():
            for file in files:
                covered = FileRange(file.topic, file.partition, file.first, next_offset)
                target = covered.path(file.day)
                changed |= self._storage.make_folder(target.rpartition("/")[0])
                try:
                    self._storage.move(file.path, target)
                except FileNotFoundError:
                    self.require(covered, file.day)
            # Not before the moves: a reader might find a folder without its file for as long as that takes.
            self._storage.sync(changed)

    def require(self, covered: FileRange, *days: str) -> None:
        """Make sure that files that are committed are where readers look.

        Raises:
            FilesDisagree: one is not.
            OSError: it cannot be said.
        """
        with self._storage.reaching():
            missing = next((day for day in days if not self._storage.exists(covered.path(day))), None)
        if missing is not None:
            raise FilesDisagree(
                f"{self.url}: {covered.path(missing)} is committed, and is neither there nor aside. Put it back; or "
                f"{_written_again(covered)}. If it is gone on purpose, set the offset to {covered.next_offset}, where "
                "it is: that says so"
            )

    def days_of_range(self, covered: FileRange, day: str) -> frozenset[str]:
        """Read of which days there are files of a range, as that of one day says.

        Raises:
            FilesDisagree: it is damaged.
            OSError: it cannot be read.
        """
        with self._storage.reaching(), self._storage.open(covered.path(day)) as file:
            content = file.read()
        try:
            return noted_days(pq.read_schema(pa.BufferReader(content)).metadata)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise FilesDisagree(
                f"{self.url}: {covered.path(day)} is committed, and damaged. Put it back from a copy; or move away all "
                f"files of offsets {covered.first} to {covered.next_offset - 1}, and {_written_again(covered)}"
            ) from error

    def refuse(self, topic: str, partition: int, *, former: bool = False) -> None:
        """Make sure that there is no file of a partition of which no offset is committed.

        Arguments:
            topic: of the partition.
            partition: its number.
            former: whether it is known that files would be those of a topic that was deleted since.

        Raises:
            FilesDisagree: there are some.
            OSError: it cannot be said.
        """
        shown = [each.covered for each in self.listing().files]
        ends = [each.next_offset for each in shown if (each.topic, each.partition) == (topic, partition)]
        end = max(ends, default=None)
        if end is not None and former:
            raise FilesDisagree(
                f"{self.url} has rows of {topic}-{partition} up to offset {end - 1}, but those were read from a topic "
                "of that name that was deleted since: the new one's would be taken for the same. Move the former "
                "one's files away; then the new one is read from its beginning"
            )
        if end is not None:
            raise FilesDisagree(
                f"{self.url} has rows of {topic}-{partition} up to offset {end - 1}, but the group has no offset there "
                "(forgotten by the brokers, or the group is another, or the topic was deleted and made anew): all "
                "would be written again. Stop the workers. If the topic is a new one, move the files away, for they "
                f"are the former one's; else set the group's offset to {end}. Then start them"
            )

    def discard(self, files: Iterable[WaitingFile]) -> None:
        """Delete files that were written aside and never committed; one that is not there any more is no matter.

        Raises:
            OSError: one could not be deleted.
        """
        with self._storage.reaching():
            for file in files:
                with contextlib.suppress(FileNotFoundError):
                    self._storage.delete(file.path)

    def waiting(self) -> list[WaitingFile]:
        """List what is written aside.

        Raises:
            OSError: it cannot be listed.
        """
        with self._storage.reaching():
            return [file for name in self._storage.names(ASIDE) if (file := WaitingFile.of(name)) is not None]

    def listing(self) -> Listing:
        """List what readers see.

        Raises:
            OSError: it cannot be listed.
        """
        with self._storage.reaching():
            names = [name for name in self._storage.every_name() if name.endswith(".parquet")]
        found = Listing([], [])
        for name in names:
            folder, _, file = name.rpartition("/")
            day, covered = _DAY.fullmatch(folder), FileRange.of(file)
            if day is not None and covered is not None:
                found.files.append(ShownFile(covered, day[1], name))
            else:
                found.foreign.append(name)
        return found

    def read_back(self, name: str) -> Contents:
        """Read what a file holds.

        Raises:
            OSError: it cannot be read, or is no Parquet file of ours.
        """
        with self._storage.reaching(), self._storage.open(name) as file:
            try:
                table = pq.read_table(file, page_checksum_verification=True)
                intact = table.schema.remove_metadata().equals(SCHEMA)  # no checksum covers the footer
            except (pa.ArrowException, OSError, KeyError, ValueError) as error:
                raise OSError("it is no Parquet file of ours, or is damaged") from error
        if not intact:
            raise OSError("its columns are not ours")
        days = frozenset(days_of(table).unique().to_pylist())
        offsets = table["source_offset"].to_pylist()
        return Contents(offsets, days, noted_days(table.schema.metadata), said_by(table))


def _written_again(covered: FileRange) -> str:
    return (
        "have its rows written again: stop the workers, set the group's offset of "
        f"{covered.topic}-{covered.partition} to {covered.first}, and start them"
    )
