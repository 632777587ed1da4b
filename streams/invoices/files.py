"""Reading any number of files, each by its kind."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from streams.failure.errors import InputError
from streams.invoices.csv_file import read_csv
from streams.invoices.jsonl_file import read_jsonl
from streams.invoices.reading import Reading

_READERS = {".csv": read_csv, ".jsonl": read_jsonl}
_STANDARD_INPUT: Final = Path("-")
_KINDS: Final = ".csv, .csv.xz, .jsonl or .jsonl.xz"


def read_files(paths: Iterable[Path], *, skip_unreadable: bool = False) -> Reading:
    """Read all files whole. The kind of each is told by its name: ``.csv`` or ``.jsonl``, perhaps ``.xz``.

    Raises:
        InputError: the first place that is wrong, if not to be skipped; and, in any case, a file of
            another kind.
    """
    reading = Reading(skip_unreadable)
    for path in paths:
        kind = path.with_suffix("").suffix if path.suffix == ".xz" else path.suffix
        reader = _READERS.get(kind)
        if reader is None:
            what = "standard input is not read" if path == _STANDARD_INPUT else "unknown kind of file"
            raise InputError(path, f"{what}: expected a file whose name ends in {_KINDS}")
        reader(path, reading)
    return reading
