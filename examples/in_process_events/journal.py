"""A file that says what was done, one JSON object a line, and survives the process that wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path


class Journal:
    """Appends lines to a file.

    Each line is one unbuffered write to a file opened for appending: it is with the operating system when
    :meth:`write` returns, so SIGKILL cannot take it back, and threads cannot mix their lines.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def write(self, fields: Mapping[str, object]) -> None:
        """Append an object."""
        self.append(json.dumps(fields).encode())

    def append(self, line: bytes) -> None:
        """Append a line that is JSON already."""
        self._file.write(line + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
