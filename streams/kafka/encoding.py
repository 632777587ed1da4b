"""What the first bytes of a text say of its encoding. JSON and CSV travel in UTF-8 here."""

from __future__ import annotations

import codecs
from typing import Final

BYTE_ORDER_MARK: Final = codecs.BOM_UTF8
"""What some programs on Windows put before a text in UTF-8. RFC 8259 lets a reader of JSON ignore it."""

# UTF-32's little-endian mark begins with UTF-16's.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
ENCODING_SHOWS_IN: Final = 4
"""Bytes by which it can be told."""


def without_mark(text: bytes) -> bytes:
    """Take the byte order mark away, if there is one."""
    return text.removeprefix(BYTE_ORDER_MARK)


def is_utf_8(text: str) -> bool:
    """Tell whether UTF-8 can write a text: half of a character, or a byte that was none, it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def foreign_encoding(text: bytes) -> str | None:
    """Name the encoding of a text that is not in UTF-8, by its mark or by the zeros between its letters; else None.

    Of a text that begins with two letters of ASCII, as JSON and our CSV files do, UTF-16 makes every second byte zero.
    """
    beginning = text[:ENCODING_SHOWS_IN]
    for mark, name in _MARKS:
        if beginning.startswith(mark):
            return name
    zeros = [not byte for byte in beginning]
    if zeros in ([False, True, False, True], [True, False, True, False]):
        return "UTF-16"
    return "UTF-32" if zeros in ([False, True, True, True], [True, True, True, False]) else None
