"""Why a record's value cannot be read, in words for who reads its dead letter. Only asked once reading has failed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError

from streams.failure.errors import InvalidRecord, PermanentError, Skip, Undecodable
from streams.failure.policy import safe_reason
from streams.kafka.encoding import foreign_encoding

TOMBSTONE: Final = "tombstone"
"""What delete markers are counted as: ``skipped.tombstone``."""

# Spring's binders call it contentType, and may put it into quotation marks.
_CONTENT_TYPES: Final = frozenset({"content-type", "contenttype"})
_CLOUDEVENT: Final = b"application/cloudevents"
_BATCH: Final = b"application/cloudevents-batch"
_SINGLE_EVENT: Final = (
    "this is a structured CloudEvent (application/cloudevents+json), which is not read yet: send its attributes as ce_ "
    "headers, and its data alone as the value (binary mode)"
)
_SEVERAL_EVENTS: Final = (
    "this is a batch of CloudEvents (application/cloudevents-batch+json), which is not read yet: send each as a record "
    "of its own, its attributes as ce_ headers and its data alone as the value (binary mode)"
)


def nothing_to_read(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Exception:
    """Judge a record without a value: a delete marker is passed over, anything else cannot be decoded.

    A delete marker (tombstone) has Kafka forget in a compacted topic what was there under its key. It says nothing of
    an order. So it has a key; and it does not say by CloudEvents attributes that it is an event.
    """
    if value is not None:
        return Undecodable("the value is empty")
    if any(name.startswith("ce_") for name, _ in headers):
        return Undecodable("the value is null: by its ce_ headers this is an event, and its data is missing")
    if key is None:
        return Undecodable("the value is null, and so is the key: neither an event nor a delete marker (tombstone)")
    return Skip(TOMBSTONE)


def why_refused(value: bytes, headers: Sequence[tuple[str, bytes | None]], error: ValidationError) -> PermanentError:
    """Say what is wrong with a value that is not what a model describes."""
    if (other := _other_cloudevent(value, headers)) is not None:
        return Undecodable(other)
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    if all(problem["type"] != "json_invalid" for problem in problems):
        return InvalidRecord(safe_reason(error))
    if (encoding := foreign_encoding(value)) is not None:
        return Undecodable(f"the value is in {encoding}, and not UTF-8 as JSON must be")
    try:
        value.decode()
    except UnicodeDecodeError as broken:
        return Undecodable(f"the value is not UTF-8: byte {broken.start} cannot be decoded")
    if _has_half_a_character(value):
        return Undecodable(r"half of a character in a text: a surrogate such as \ud83d alone, which UTF-8 cannot write")
    return Undecodable(safe_reason(error))


def _other_cloudevent(value: bytes, headers: Sequence[tuple[str, bytes | None]]) -> str | None:
    """Tell a CloudEvent that is not in Kafka's binary mode: by its content type, else by what it holds."""
    for name, text in headers:
        if name.lower() in _CONTENT_TYPES and text:
            kind = text.strip(b'" ').lower()
            if kind.startswith(_CLOUDEVENT):
                return _SEVERAL_EVENTS if kind.startswith(_BATCH) else _SINGLE_EVENT
    if b'"specversion"' not in value:
        return None
    held = _loaded(value)
    several = isinstance(held, list)
    first = next(iter(held), None) if several else held
    if isinstance(first, dict) and "specversion" in first and ("data" in first or "data_base64" in first):
        return _SEVERAL_EVENTS if several else _SINGLE_EVENT
    return None


def _has_half_a_character(value: bytes) -> bool:
    if b"\\u" not in value:
        return False
    try:
        json.dumps(_loaded(value), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except RecursionError:
        pass
    return False


def _loaded(value: bytes) -> Any:
    """Read JSON with Python's own reader, which takes more; None if not even that can."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
