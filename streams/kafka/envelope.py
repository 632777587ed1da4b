"""CloudEvents 1.0 in Kafka's binary mode: attributes travel as ``ce_*`` headers beside the value.

Source: CloudEvents Kafka protocol binding 1.0.2; the extensions ``correlationid`` and ``causationid``
are CloudEvents' correlation extension, ``traceparent`` and its kin are W3C Trace Context.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

_CONTENT_TYPE: Final = ("content-type", b"application/json")
_SPEC_VERSION: Final = ("ce_specversion", b"1.0")
_TRACE: Final = ("traceparent", "tracestate", "baggage")


# Attributes are copied into every output: what is longer than this is no attribute, and counts as absent. W3C
# allows a tracestate of 512 and a baggage of 8,192 bytes.
_LONGEST_ATTRIBUTE: Final = 1024
_LONGEST_TRACE: Final = 8192


def _text(value: bytes | None) -> str | None:
    """Read a header that somebody else wrote: bad UTF-8 in it must not stop a good payment."""
    if value is None or len(value) > _LONGEST_ATTRIBUTE:
        return None
    return value.decode("utf-8", "replace")


class Envelope(NamedTuple):
    """The CloudEvents attributes of a record; None where it has none. A tuple, as one is made for every record."""

    id: str | None = None
    source: str | None = None
    type: str | None = None
    time: str | None = None
    subject: str | None = None
    trace: tuple[tuple[str, bytes], ...] = ()
    """The trace context headers, as they came."""

    @classmethod
    def read(cls, headers: Sequence[tuple[str, bytes]]) -> Envelope:
        """Read an envelope; of repeated headers the last counts, as in Kafka's ``lastHeader``."""
        if not headers:
            return _NONE
        found = dict(headers)
        get = found.get
        return cls(
            _text(get("ce_id")),
            _text(get("ce_source")),
            _text(get("ce_type")),
            _text(get("ce_time")),
            _text(get("ce_subject")),
            tuple([(name, found[name]) for name in _TRACE if 0 < len(get(name) or b"") <= _LONGEST_TRACE]),
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

    Their ids are ``<id of the cause>:<kind>``, so that a repeat can be recognised; they name their
    cause and their order, and carry its trace context on.

    Arguments:
        cause: the envelope of the event they follow from.
        cause_id: that event's id.
        order_id: the order all of this is about.
        time: RFC 3339; when the cause happened.
        source: who says so, a URI reference.
    """

    __slots__ = ("_id", "_shared")

    def __init__(self, cause: Envelope, *, cause_id: str, order_id: str, time: str, source: bytes) -> None:
        order = order_id.encode()
        self._id = cause_id
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
        """Write the headers of the consequence named `kind`."""
        return [*self._shared, ("ce_id", f"{self._id}:{kind}".encode()), ("ce_type", type)]
