"""CloudEvents 1.0 in Kafka's binary mode: attributes travel as ``ce_*`` headers beside the value.

Source: CloudEvents Kafka protocol binding 1.0.2; the extensions ``correlationid`` and ``causationid``
are CloudEvents' correlation extension, ``traceparent`` and its kin are W3C Trace Context.
"""

from __future__ import annotations

import re
from calendar import isleap
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

_CONTENT_TYPE: Final = ("content-type", b"application/json")
_SPEC_VERSION: Final = ("ce_specversion", b"1.0")

# Attributes are copied into every output: what is longer than this is no attribute, and counts as absent. W3C
# allows a tracestate of 512 and a baggage of 8,192 bytes.
_LONGEST_ATTRIBUTE: Final = 1024
_LONGEST_TRACE: Final = 8192

# What CloudEvents keeps out of a text: control characters, and code points that are no characters.
_NO_TEXT: Final = re.compile("[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]").search

# RFC 3339, section 5.6, with the days that its months have. Whether there was a leap second nobody needs to know.
_is_time: Final = re.compile(
    rb"[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    rb"|02-(?:0[1-9]|[12][0-9]))[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
    rb"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
).fullmatch
_LEAP_DAY: Final = b"02-29"

# W3C Trace Context, section 3.2: version 00 as it is, later ones perhaps with more behind it. Zeros alone are no id.
_TRACE_IDS: Final = rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_is_traceparent: Final = re.compile(
    rb"00" + _TRACE_IDS + rb"|(?!00|ff)[0-9a-f]{2}" + _TRACE_IDS + rb"(?:-[\x20-\x7e]*)?"
).fullmatch
_is_plain: Final = re.compile(rb"[\t\x20-\x7e]+").fullmatch


def text_attribute(value: bytes | None) -> str | None:
    """Read a header that somebody else wrote: what is no text in it must not stop a good payment, and is absent."""
    if not value or len(value) > _LONGEST_ATTRIBUTE:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        # Replacing bad bytes would make one id of two.
        return None
    return text if text.isprintable() or not _NO_TEXT(text) else None


def time_attribute(value: bytes | None) -> str | None:
    """Read the time in a header: what is no RFC 3339 is absent."""
    if not value or len(value) > _LONGEST_ATTRIBUTE or not _is_time(value):
        return None
    if value[5:10] == _LEAP_DAY and not isleap(int(value[:4])):
        return None
    return value.decode()


def _trace(found: Mapping[str, bytes | None]) -> tuple[tuple[str, bytes], ...]:
    """Pick the trace context that may be carried on: a tracestate means nothing without its traceparent."""
    kept: list[tuple[str, bytes]] = []
    parent, state, baggage = found.get("traceparent"), found.get("tracestate"), found.get("baggage")
    if parent and len(parent) <= _LONGEST_TRACE and _is_traceparent(parent):
        kept.append(("traceparent", parent))
        if state and len(state) <= _LONGEST_TRACE and _is_plain(state):
            kept.append(("tracestate", state))
    if baggage and len(baggage) <= _LONGEST_TRACE and _is_plain(baggage):
        kept.append(("baggage", baggage))
    return tuple(kept)


class Envelope(NamedTuple):
    """The CloudEvents attributes of a record. A tuple, as one is made for every record.

    None where it has none, and where a header is there and is not what it should be: no text in UTF-8, empty, with
    control characters, or as `time` no RFC 3339. All of it is copied into outputs, whose readers trust it.
    """

    id: str | None = None
    source: str | None = None
    type: str | None = None
    time: str | None = None
    subject: str | None = None
    trace: tuple[tuple[str, bytes], ...] = ()
    """The trace context headers that W3C would know, as they came."""

    @classmethod
    def read(cls, headers: Sequence[tuple[str, bytes]]) -> Envelope:
        """Read an envelope; of repeated headers the last counts, as in Kafka's ``lastHeader``."""
        if not headers:
            return _NONE
        found = dict(headers)
        get = found.get
        return cls(
            text_attribute(get("ce_id")),
            text_attribute(get("ce_source")),
            text_attribute(get("ce_type")),
            time_attribute(get("ce_time")),
            text_attribute(get("ce_subject")),
            _trace(found) if "traceparent" in found or "baggage" in found else (),
        )


_NONE: Final = Envelope()


def event_headers(*, id: str, source: str, type: str, time: str, subject: str) -> list[tuple[str, bytes]]:
    """Write the headers of an event that starts a story, as the shop does."""
    return [
        _SPEC_VERSION,
        ("ce_id", id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", type.encode()),
        ("ce_time", time.encode()),
        ("ce_subject", subject.encode()),
        _CONTENT_TYPE,
    ]


class Consequences:
    """Writes the headers of the events that follow from one event.

    Their ids are ``<id of the cause>:<what the cause is>-<kind>``, so that a repeat can be recognised, and what follows
    from two events of different kinds with one id is told apart; they name their cause and their order, and carry its
    trace context on.

    Arguments:
        cause: the envelope of the event they follow from.
        cause_id: that event's id.
        cause_kind: what it is; without a colon.
        order_id: the order all of this is about.
        time: RFC 3339; when the cause happened.
        source: who says so, a URI reference.
    """

    __slots__ = ("_id", "_shared")

    def __init__(
        self, cause: Envelope, *, cause_id: str, cause_kind: str, order_id: str, time: str, source: bytes
    ) -> None:
        order = order_id.encode()
        self._id = f"{cause_id}:{cause_kind}"
        self._shared: list[tuple[str, bytes]] = [
            _SPEC_VERSION,
            ("ce_source", source),
            ("ce_time", time.encode()),
            ("ce_subject", order),
            ("ce_correlationid", order),
            ("ce_causationid", cause_id.encode()),
            _CONTENT_TYPE,
            *cause.trace,
        ]

    def headers(self, kind: str, type: bytes) -> list[tuple[str, bytes]]:
        """Write the headers of the consequence named `kind`, in which there is no hyphen."""
        return [*self._shared, ("ce_id", f"{self._id}-{kind}".encode()), ("ce_type", type)]
