"""Files on this machine, or wherever fsspec reaches. On a local disk, what is written here survives a power cut.

Every call may block: not for an event loop.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import IO, Any, Final

import fsspec

from streams.failure.errors import PaystreamError, SetupError

# They know no folders, and s3fs would take the making of one for the making of a bucket: of one that is misspelt, say.
_WITHOUT_FOLDERS: Final = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci"})


class Storage:
    """Writes, moves and lists files below one place. Names are relative to it, with slashes.

    Arguments:
        url: a local path, or a URL that fsspec knows.

    Attributes:
        url: the place, as it may be shown; of a local folder its absolute path.

    Raises:
        SetupError: nothing installed here knows this kind of URL.
    """

    def __init__(self, url: str) -> None:
        try:
            self._files, root = _found(url)
        except (ImportError, ValueError, TypeError) as error:
            raise _unfit(url, _with_way_out(error)) from None
        except OSError as error:  # some connect at once
            raise _unfit(url, f"{error.strerror or type(error).__name__}") from error
        self._root = str(root).rstrip("/")
        protocols = self._files.protocol if isinstance(self._files.protocol, tuple) else (self._files.protocol,)
        self._local = "file" in protocols
        if not self._local and not _ends_alike(url, self._root):
            raise _unfit(
                url,
                f"this kind of store takes it for {self._root or '/'}. What comes after a ? or a :: is no part of a "
                "path there: choose another name",
            )
        # Whoever looks for a local folder may do so from another one.
        self.url = re.sub(r"^/*", "/", self._root) if self._local else without_password(url)
        self._has_folders = _WITHOUT_FOLDERS.isdisjoint(protocols)
        # Of fsspec's calls, those that are for many files take brackets, question marks and asterisks in a path for
        # patterns; those for one do not. A rename of the store's own is better than both.
        self._renames = self._has_folders and type(self._files).mv is not fsspec.AbstractFileSystem.mv

    @contextlib.contextmanager
    def reaching(self) -> Iterator[None]:
        """Turn what goes wrong within into OSError: clients of object stores have errors of their own."""
        try:
            yield
        except (OSError, PaystreamError):
            raise
        except Exception as error:
            if self._local:
                raise
            raise OSError(type(error).__name__) from error

    def write(self, name: str, content: memoryview) -> None:
        """Write a file. What is in it has reached the disk when this returns; its name has after :meth:`sync`."""
        changed = self.make_folder(name.rpartition("/")[0])
        with self._files.open(self._path(name), "wb") as out:
            out.write(content)
            if self._local:
                out.flush()
                os.fsync(out.fileno())
        if len(changed) > 1:  # its folder has a new name as well
            self.sync(changed)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file to read it."""
        with self._files.open(self._path(name), "rb") as file:
            yield file

    def move(self, source: str, target: str) -> None:
        """Move a file, over one that is there; its folder must exist.

        Raises:
            FileNotFoundError: there is no such file.
        """
        if self._local:
            os.replace(self._path(source), self._path(target))
        elif not self.exists(source):
            raise FileNotFoundError(source)
        elif self._renames:
            self._files.mv(self._path(source), self._path(target))
        else:
            self._files.cp_file(self._path(source), self._path(target))
            self._files.rm_file(self._path(source))

    def delete(self, name: str) -> None:
        """Delete a file.

        Raises:
            FileNotFoundError: there is no such file.
        """
        self._files.rm_file(self._path(name))

    def exists(self, name: str) -> bool:
        """Tell whether there is such a file or folder."""
        path = self._path(name)
        # What another process has just written must be seen: fsspec may remember what was there.
        self._files.invalidate_cache(path)
        return bool(self._files.exists(path))

    def names(self, folder: str) -> list[str]:
        """List what is in a folder, if there is such a folder."""
        if not self.exists(folder):
            return []
        return [str(each).rpartition("/")[2] for each in self._files.ls(self._path(folder), detail=False)]

    def every_name(self) -> list[str]:
        """List the files in all folders, in order."""
        if not self.exists(""):
            return []
        return sorted(str(path).removeprefix(self._root + "/") for path in self._files.find(self._root))

    def lacks_its_root(self) -> bool:
        """Tell whether the place itself is a local folder that is not there; elsewhere nobody may be able to say."""
        return self._local and not os.path.isdir(self._root or "/")

    def make_folder(self, folder: str) -> set[str]:
        """Make a folder, and those above it.

        Returns:
            paths for :meth:`sync`: the folder's, and those of folders in which there is a new name.
        """
        above = self._path(folder)
        changed = {above}
        while self._local and not os.path.isdir(above):
            above = os.path.dirname(above)
            changed.add(above)
        if self._has_folders:
            self._files.makedirs(self._path(folder), exist_ok=True)
        return changed

    def sync(self, folders: set[str]) -> None:
        """Make new names in folders survive a power cut."""
        if self._local:
            # The root, too: another lane may have made one of them a moment ago.
            for folder in (*folders, self._root):
                _sync_folder(folder)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


def _found(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Find what reaches a place, and the path of the place in it."""
    if "://" not in url or url.startswith(("file://", "local://")):
        # fsspec.core would take a :: in it for a chain of stores, and the first part for the place.
        files = fsspec.filesystem("file")
        return files, files._strip_protocol(url)
    files, root = fsspec.core.url_to_fs(url)
    return files, str(root)


def _ends_alike(url: str, root: str) -> bool:
    """Whether a store takes the end of a URL for that of the path; an HDFS client's query is no part of it."""
    if re.search(r"\?versionid=", url, re.IGNORECASE):
        return False  # s3fs and adlfs would cut it off later, from every name behind it
    place = url.partition("?")[0] if url.startswith(("hdfs://", "arrow_hdfs://", "webhdfs://")) else url
    return place.rstrip("/").endswith(root.rpartition("/")[2])


def _unfit(url: str, why: str) -> SetupError:
    return SetupError(f"PAYSTREAM_PLATFORM__FOLDER={without_password(url)}: {why}")


def without_password(url: str) -> str:
    """Return a URL as it may be shown: ``ftp://user:secret@host/`` becomes ``ftp://***@host/``."""
    # Up to the last @: a password may hold one, or a slash, although it should not.
    return re.sub(r"(?<=://).*@", "***@", url)


def _with_way_out(error: Exception) -> str:
    """Add to fsspec's words how to install the client that it names."""
    missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else None
    text = str(error).rstrip(".")
    # Not every module is in a package of its own name: only one that fsspec itself says to install.
    if missing is None or re.search(rf"\binstall {re.escape(missing)}\b", text, re.IGNORECASE) is None:
        return text
    return f"{text}: pip install {missing}"


def _sync_folder(folder: str) -> None:
    """Make a new name survive a power cut: it is an entry of the folder, which has to reach the disk, too."""
    descriptor: Any = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
