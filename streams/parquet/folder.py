"""The folder of the files, on this machine or wherever fsspec reaches. Every call may block: not for an event loop."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from streams.failure.errors import FilesDisagree, SetupError
from streams.parquet.ranges import ASIDE, FileRange, WaitingFile, noted_days
from streams.parquet.rows import SCHEMA

_COMPRESSION: Final = "zstd"
# They know no folders, and s3fs would take the making of one for the making of a bucket: of one that is misspelt, say.
_WITHOUT_FOLDERS: Final = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci"})
_DAY: Final = re.compile(r"dt=\d{4}-\d\d-\d\d")


class Folder:
    """Writes files aside, moves them to where readers look, and lists them.

    Arguments:
        url: a local path, or a URL that fsspec knows.

    Raises:
        SetupError: nothing installed here knows this kind of URL.
    """

    def __init__(self, url: str) -> None:
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise SetupError(f"PAYSTREAM_PLATFORM__FOLDER={without_password(url)}: {error}") from None
        self.url = without_password(url)
        protocols = self._files.protocol if isinstance(self._files.protocol, tuple) else (self._files.protocol,)
        self._local = "file" in protocols
        self._has_folders = _WITHOUT_FOLDERS.isdisjoint(protocols)

    def write_aside(self, file: WaitingFile, table: pa.Table) -> None:
        """Write a file where no reader looks; it has reached the disk when this returns.

        Raises:
            OSError: it could not be written.
        """
        content = io.BytesIO()
        # The pages' checksums let 'paystream platform check' find a damaged file.
        pq.write_table(table, content, compression=_COMPRESSION, write_page_checksum=True)
        with self._reaching():
            changed = self._make_folder(self._path(ASIDE))
            with self._files.open(self._path(file.path), "wb") as out:
                out.write(content.getbuffer())
                if self._local:
                    out.flush()
                    os.fsync(out.fileno())
            self._sync(changed)

    def publish(self, files: Iterable[WaitingFile], next_offset: int) -> None:
        """Move files to where readers look. What is there already stays: it was moved by a former attempt.

        Raises:
            OSError: one could not be moved.
            FilesDisagree: one is neither aside nor there.
        """
        changed = set()
        with self._reaching():
            for file in files:
                covered = FileRange(file.topic, file.partition, file.first, next_offset)
                target = self._path(covered.path(file.day))
                folder = target.rpartition("/")[0]
                changed.add(folder)
                changed |= self._make_folder(folder)
                try:
                    self._move(self._path(file.path), target)
                except FileNotFoundError:
                    self.require(covered, file.day)
            # Not before the moves: a reader might find a folder without its file for as long as that takes.
            self._sync(changed)

    def require(self, covered: FileRange, day: str) -> None:
        """Make sure that a file that is committed is where readers look.

        Raises:
            FilesDisagree: it is not.
            OSError: it cannot be said.
        """
        with self._reaching():
            there = self._exists(self._path(covered.path(day)))
        if not there:
            raise FilesDisagree(
                f"{self.url}: {covered.path(day)} is committed, and is neither there nor aside. Put it back; or have "
                f"its rows written again: stop the workers, set the group's offset of {covered.topic}-"
                f"{covered.partition} to {covered.first}, and start them. If it is gone on purpose, set the offset "
                f"to {covered.next_offset}, where it is: that says so"
            )

    def refuse(self, topic: str, partition: int) -> None:
        """Make sure that there is no file of a partition of which no offset is committed.

        Raises:
            FilesDisagree: there are some.
            OSError: it cannot be said.
        """
        ends = [each.next_offset for each, _ in self.published() if (each.topic, each.partition) == (topic, partition)]
        end = max(ends, default=None)
        if end is not None:
            raise FilesDisagree(
                f"{self.url} has rows of {topic}-{partition} up to offset {end - 1}, but the group has no offset there "
                "(forgotten by the brokers, or the group is another): all would be written again. Stop the workers, "
                f"set the group's offset to {end}, or move the files away, and start them"
            )

    def discard(self, files: Iterable[WaitingFile]) -> None:
        """Delete files that were written aside and never committed; one that is not there any more is no matter.

        Raises:
            OSError: one could not be deleted.
        """
        with self._reaching():
            for file in files:
                with contextlib.suppress(FileNotFoundError):
                    self._files.rm(self._path(file.path))

    def waiting(self) -> list[WaitingFile]:
        """List what is written aside.

        Raises:
            OSError: it cannot be listed.
        """
        with self._reaching():
            return [file for name in self._names(ASIDE) if (file := WaitingFile.of(name)) is not None]

    def published(self) -> Iterator[tuple[FileRange, str]]:
        """List what readers see: ranges and paths.

        Raises:
            OSError: it cannot be listed.
        """
        for path in self._parquet_files():
            found = self._range_of(path)
            if found is not None:
                yield found, path

    def foreign(self) -> list[str]:
        """List what readers see, too, and is none of ours, or not where it belongs.

        Raises:
            OSError: it cannot be listed.
        """
        return [path for path in self._parquet_files() if self._range_of(path) is None]

    def read_back(self, path: str) -> tuple[list[int], frozenset[str]]:
        """Read the offsets of a file's rows, and the days of which its range has files.

        Raises:
            OSError: it cannot be read, or is no Parquet file.
        """
        with self._reaching(), self._files.open(path, "rb") as file:
            try:
                table = pq.read_table(file, page_checksum_verification=True)
                offsets: list[int] = table["source_offset"].to_pylist()
                intact = table.schema.remove_metadata().equals(SCHEMA)  # no checksum covers the footer
            except (pa.ArrowException, OSError, KeyError, ValueError) as error:
                raise OSError("it is no Parquet file of ours, or is damaged") from error
        if not intact:
            raise OSError("its columns are not ours")
        return offsets, noted_days(table.schema.metadata)

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Clients of object stores have errors of their own for a store that does not answer."""
        try:
            yield
        except (OSError, FilesDisagree):
            raise
        except Exception as error:
            if self._local:
                raise
            raise OSError(type(error).__name__) from error

    def _parquet_files(self) -> list[str]:
        with self._reaching():
            if not self._exists(self._root):
                return []
            return sorted(path for path in self._files.find(self._root) if path.endswith(".parquet"))

    def _range_of(self, path: str) -> FileRange | None:
        folder, _, name = path.rpartition("/")
        above, _, day = folder.rpartition("/")
        ours = above == str(self._root).rstrip("/") and _DAY.fullmatch(day)
        return FileRange.of(name) if ours else None

    def _move(self, source: str, target: str) -> None:
        if self._local:
            os.replace(source, target)
        elif self._exists(source):
            self._files.mv(source, target)
        else:
            raise FileNotFoundError(source)

    def _make_folder(self, folder: str) -> set[str]:
        """Make a folder, and those above it; return it and those in which there is a new name."""
        changed, above = {folder}, folder
        while self._local and not os.path.isdir(above):
            above = os.path.dirname(above)
            changed.add(above)
        if self._has_folders:
            self._files.makedirs(folder, exist_ok=True)
        return changed

    def _sync(self, folders: set[str]) -> None:
        if self._local:
            # The root, too: another lane may have made one of them a moment ago.
            for folder in (*folders, str(self._root)):
                _sync_folder(folder)

    def _names(self, folder: str) -> list[str]:
        path = self._path(folder)
        if not self._exists(path):
            return []
        # What another process has just written must be seen: fsspec may remember what was there.
        self._files.invalidate_cache(path)
        return [str(each).rpartition("/")[2] for each in self._files.ls(path, detail=False)]

    def _exists(self, path: str) -> bool:
        self._files.invalidate_cache(path)
        return bool(self._files.exists(path))

    def _path(self, name: str) -> str:
        return f"{str(self._root).rstrip('/')}/{name}"


def without_password(url: str) -> str:
    """Return a URL as it may be shown: ``ftp://user:secret@host/`` becomes ``ftp://***@host/``."""
    # Up to the last @: a password may hold one, or a slash, although it should not.
    return re.sub(r"(?<=://).*@", "***@", url)


def _sync_folder(folder: str) -> None:
    """Make a new name survive a power cut: it is an entry of the folder, which has to reach the disk, too."""
    descriptor: Any = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
