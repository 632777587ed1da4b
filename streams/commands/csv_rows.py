"""Reading a CSV that a command is given, so that whatever is wrong in it has a line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from streams.failure.errors import InputError
from streams.invoices.reading import check_encoding


def csv_rows(file: Path, header: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Read the rows below the header, each with the number of the line in which it begins. Empty lines are left out.

    Arguments:
        file: in UTF-8, with or without a byte order mark.
        header: what the first line must be.

    Raises:
        InputError: the file cannot be read, is not UTF-8 or no CSV, or begins with another line. It names the line,
            and quotes nothing of it.
    """
    rows = csv.reader(io.StringIO(_text(file), newline=""), strict=True)
    begins = 1
    try:
        if next(rows, None) != list(header):
            raise InputError(file, f"the first line must be: {','.join(header)}", line=1)
        begins = rows.line_num + 1
        for row in rows:
            if row:
                yield begins, row
            begins = rows.line_num + 1
    except csv.Error as error:
        what = "a quote is not closed" if str(error) == "unexpected end of data" else str(error)
        raise InputError(file, f"no CSV: {what}", line=begins) from None


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(file, f"cannot be read: {error.strerror or error}") from None
    check_encoding(file, content)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # What it counts from is behind a byte order mark, if there is one.
        *before, rest = (error.object[: error.start] + b"?").splitlines()
        reason = f"not UTF-8: byte {len(rest)} of the line is 0x{error.object[error.start]:02x}"
        raise InputError(file, reason, line=len(before) + 1) from None
