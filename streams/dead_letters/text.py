"""Dead letters as text for a terminal: headers decoded one by one, payloads, and nothing that bites.

A dead letter is whatever somebody managed to send. Its bytes may hold escape sequences that move the cursor,
rename the window or hide the next line; so whatever is not plainly printable is shown as an escape.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from typing import Any, Final

from streams.dead_letters.reading import DeadLetterInfo, Hop, read_dead_letter

_QUOTING: Final = frozenset(
    {"message", "stacktrace", "key_exception_message", "key_exception_stacktrace"}
)  # says DeadLetterInfo


@dataclass(frozen=True, slots=True)
class HeaderText:
    """One header, decoded.

    Attributes:
        name: as it is on the wire.
        text: of the value.
        may_quote: whether it may hold a part of the payload or of the key.
        is_trace: whether it is the stack trace, which has many lines.
    """

    name: str
    text: str
    may_quote: bool = False
    is_trace: bool = False


def header_texts(headers: Sequence[tuple[str, bytes | None]]) -> list[HeaderText]:
    """Decode all headers, in their order: numbers and times that the codec knows, and text."""
    return [_header(name, value) for name, value in headers]


def _header(name: str, value: bytes | None) -> HeaderText:
    if value is None:
        return HeaderText(name, "null")
    # Read alone, a header that the codec knows sets exactly the field it stands for.
    known = _known_parts(read_dead_letter([(name, value)]))
    for part, meaning in known.items():
        if isinstance(meaning, (int, float)) and not value.isdigit():
            return HeaderText(name, _number(part, meaning, value))
    return HeaderText(
        name, bytes_as_text(value), may_quote=not _QUOTING.isdisjoint(known), is_trace="stacktrace" in known
    )


def _known_parts(info: DeadLetterInfo) -> dict[str, object]:
    parts: dict[str, object] = {each.name: getattr(info, each.name) for each in fields(DeadLetterInfo)}
    for name in ("last_hop", "unreadable"):
        parts.pop(name)
    hop = parts.pop("origin")
    if isinstance(hop, Hop):
        parts |= {each.name: getattr(hop, each.name) for each in fields(Hop)}
    return {name: value for name, value in parts.items() if value is not None}


def _number(part: str, number: float, value: bytes) -> str:
    if part.endswith("_at"):
        return value.decode("ascii", "replace")  # a time as text, which is how it is best read
    if part.endswith("_ms") and number >= 0:
        try:
            moment = datetime.fromtimestamp(number / 1000, timezone.utc)
        except (ValueError, OverflowError, OSError):
            return str(number)
        return f"{number} ({moment:%Y-%m-%d %H:%M:%S} UTC)"
    return str(number)


def bytes_as_text(value: bytes) -> str:
    """Return UTF-8 as text; bytes that are not as ``\\xff``, each by itself."""
    return value.decode("utf-8", "backslashreplace")


def payload_as_text(value: bytes | None) -> str:
    """Return a payload to be read by a person: JSON indented, anything else as text with escapes.

    Numbers are written as Python writes them; :func:`payload_as_json` keeps every byte.
    """
    if value is None:
        return "none (a tombstone)"
    try:
        pretty = json.dumps(json.loads(value.decode()), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        pretty = bytes_as_text(value)
    return printable(pretty, newlines=True)


def payload_as_json(value: bytes | None) -> dict[str, Any]:
    """Return a payload for a program: as it is if it is UTF-8, else in base 64."""
    try:
        return {"payload": None if value is None else value.decode()}
    except UnicodeDecodeError:
        return {"payload_base64": base64.b64encode(value or b"").decode()}


def printable(text: str, *, newlines: bool = False) -> str:
    """Return the text with escapes for everything that a terminal would obey or that cannot be seen.

    Arguments:
        text: from anywhere.
        newlines: whether line ends and tabs may stay.
    """
    kept = "\n\t" if newlines else ""
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode() for char in text
    )
