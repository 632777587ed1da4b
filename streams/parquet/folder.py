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

from streams.failure.errors import SetupError
from streams.parquet.ranges import ASIDE, FileRange, WaitingFile, noted_days

_COMPRESSION: Final = "zstd"


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
        self._local = "file" in (self._files.protocol if isinstance(self._files.protocol, tuple) else ())

    def write_aside(self, file: WaitingFile, table: pa.Table) -> None:
        """Write a file where no reader looks; it has reached the disk when this returns.

        Raises:
            OSError: it could not be written.
        """
        target = self._path(file.path)
        changed = self._make_folder(self._path(ASIDE))
        content = io.BytesIO()
        pq.write_table(table, content, compression=_COMPRESSION)
        with self._files.open(target, "wb") as out:
            out.write(content.getbuffer())
            if self._local:
                out.flush()
                os.fsync(out.fileno())
        self._sync(changed)

    def publish(self, files: Iterable[WaitingFile], next_offset: int) -> None:
        """Move files to where readers look. What is there already stays: it was moved by a former attempt.

        Raises:
            OSError: one could not be moved.
        """
        changed = set()
        for file in files:
            target = self._path(FileRange(file.topic, file.partition, file.first, next_offset).path(file.day))
            folder = target.rpartition("/")[0]
            changed.add(folder)
            if not self._exists(self._path(file.path)) and self._exists(target):
                continue
            changed |= self._make_folder(folder)
            if self._local:
                os.replace(self._path(file.path), target)
            else:
                self._files.mv(self._path(file.path), target)
        # Not before the moves: a reader might find a folder without its file for as long as that takes.
        self._sync(changed)

    def discard(self, files: Iterable[WaitingFile]) -> None:
        """Delete files that were written aside and never committed; one that is not there any more is no matter.

        Raises:
            OSError: one could not be deleted.
        """
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                self._files.rm(self._path(file.path))

    def waiting(self) -> list[WaitingFile]:
        """List what is written aside."""
        return [file for name in self._names(ASIDE) if (file := WaitingFile.of(name)) is not None]

    def published(self) -> Iterator[tuple[FileRange, str]]:
        """List what readers see: ranges and paths."""
        if not self._exists(self._root):
            return
        for path in sorted(self._files.find(self._root)):
            folder, _, name = path.rpartition("/")
            found = FileRange.of(name)
            if found is not None and not folder.endswith(f"/{ASIDE}"):
                yield found, path

    def read_back(self, path: str) -> tuple[list[int], frozenset[str]]:
        """Read the offsets of a file's rows, and the days of which its range has files.

        Raises:
            OSError: it cannot be read, or is no Parquet file.
        """
        with self._files.open(path, "rb") as file:
            try:
                table = pq.read_table(file, columns=["source_offset"])
                offsets: list[int] = table["source_offset"].to_pylist()
            except (pa.ArrowInvalid, KeyError) as error:
                raise OSError("it is no Parquet file of ours, or is damaged") from error
        return offsets, noted_days(table.schema.metadata)

    def _make_folder(self, folder: str) -> set[str]:
        """Make a folder, and those above it; return it and those in which there is a new name."""
        changed, above = {folder}, folder
        while self._local and not os.path.isdir(above):
            above = os.path.dirname(above)
            changed.add(above)
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
    return re.sub(r"(?<=//)[^/@]*@", "***@", url)


def _sync_folder(folder: str) -> None:
    """Make a new name survive a power cut: it is an entry of the folder, which has to reach the disk, too."""
    descriptor: Any = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
