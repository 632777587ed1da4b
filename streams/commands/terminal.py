"""What a terminal or a pipe can take: whatever it cannot is written as an escape, in every command.

Somebody's text may have any character in it, and a terminal in Latin-1 or ASCII has few; half of a character, as JSON
can write it, has no bytes in any encoding. Python would raise at the first of them, in the middle of a table. What a
terminal *obeys* is another matter, and :func:`streams.dead_letters.text.printable`'s.
"""

from __future__ import annotations

import codecs
import io
import sys
from typing import Final

_ESCAPING: Final = "backslashreplace"
# click takes a stream in ASCII for one whose locale is not set, and writes UTF-8 to it. Somebody may have meant it.
_ASCII: Final = "ascii-on-purpose"


def escape_what_cannot_be_written() -> None:
    """Have standard output and standard error write escapes for characters that their encoding does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors != _ESCAPING:
            named = codecs.lookup(stream.encoding).name
            stream.reconfigure(encoding=_ASCII if named == "ascii" else stream.encoding, errors=_ESCAPING)


def _find(name: str) -> codecs.CodecInfo | None:
    if name != _ASCII.replace("-", "_"):
        return None
    ascii_ = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii_.encode, ascii_.decode, ascii_.streamreader, ascii_.streamwriter, ascii_.incrementalencoder,
        ascii_.incrementaldecoder, name=_ASCII,
    )  # fmt: skip


codecs.register(_find)
