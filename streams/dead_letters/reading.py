"""Reading a dead letter's headers, whoever wrote them: we, Spring, Kafka Streams, Connect."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

from streams.dead_letters.writing import (
    ATTEMPTS,
    DISPOSITION,
    FAILED_AT,
    FINGERPRINT,
    FIRST_FAILED_AT,
    REASON,
    REPLAY_COUNT,
    REPLAY_ID,
    SPRING,
    STAGE,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Hop:
    """One place where the record was read and dead-lettered; None for what its writer did not say."""

    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    timestamp_ms: int | None = None
    timestamp_type: str | None = None
    consumer_group: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetterInfo:
    """What the headers of a dead letter say, whoever wrote them; None for what they do not say.

    Attributes:
        origin: the first hop: where the record truly comes from.
        last_hop: the latest one; the same as `origin` for a record that was dead-lettered once.
        exception_class: of the exception that was caught; Spring's is nearly always a wrapper.
        cause_class: of the exception behind it.
        message: may quote the payload.
        stacktrace: likewise, when it is not ours.
        key_exception_class: set where Spring could not read the key.
        key_exception_message: may quote the key.
        key_exception_stacktrace: likewise.
        stage: one of :class:`Stage`'s values where the letter is ours; Kafka Connect has words of its own.
        disposition: one of :class:`Disposition`'s values.
        attempts: attempts made. Spring's retry topics carry the number of the *next* one; that less one.
        reason: one line without payload.
        fingerprint: see :func:`streams.failure.fingerprint.fingerprint`.
        first_failed_at: seconds since the epoch.
        failed_at: likewise.
        replay_count: how often the record has been sent back.
        replay_id: of the latest replay.
        retry_original_timestamp_ms: Spring's retry topics: the record's timestamp when it first failed.
        retry_due_ms: Spring's retry topics: when the next attempt was due.
        unreadable: names of the headers whose numbers or times could not be read, in their order.
    """

    origin: Hop | None = None
    last_hop: Hop | None = None
    exception_class: str | None = None
    cause_class: str | None = None
    message: str | None = None
    stacktrace: str | None = None
    key_exception_class: str | None = None
    key_exception_message: str | None = None
    key_exception_stacktrace: str | None = None
    stage: str | None = None
    disposition: str | None = None
    attempts: int | None = None
    reason: str | None = None
    fingerprint: str | None = None
    first_failed_at: float | None = None
    failed_at: float | None = None
    replay_count: int | None = None
    replay_id: str | None = None
    retry_original_timestamp_ms: int | None = None
    retry_due_ms: int | None = None
    unreadable: tuple[str, ...] = ()


_Decoder = Callable[[bytes], Any]
_Run = tuple[str, dict[str, Any]]
_DECIMAL: Final = re.compile(rb"-?[0-9]{1,19}")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _decimal(value: bytes) -> int:
    if not _DECIMAL.fullmatch(value):
        raise ValueError("not a decimal number")
    return int(value)


def _count(value: bytes) -> int:
    number = _decimal(value)
    if number < 0:
        raise ValueError("a count is not negative")
    return number


def _binary(width: int) -> _Decoder:
    """Read Spring's big-endian numbers; whatever is not of their width may be decimal text."""
    return lambda value: int.from_bytes(value, "big", signed=True) if len(value) == width else _decimal(value)


def _decimal_or_binary(width: int) -> _Decoder:
    """Read text, as these dialects mean it, or binary, as Spring Cloud Stream writes under the same names.

    Four bytes that are all digits would be a partition beyond 800 million, so nothing is mistaken.
    """
    binary = _binary(width)
    return lambda value: _decimal(value) if _DECIMAL.fullmatch(value) else binary(value)


def _delivery_attempt(value: bytes) -> int:
    """Read ``kafka_deliveryAttempt``: an int32, which a Spring listener has where its container is told to."""
    number = int.from_bytes(value, "big", signed=True)
    if len(value) != 4 or number < 1:
        raise ValueError("not a number of attempts")
    return number


def _retry_attempts(value: bytes) -> int:
    """Read ``retry_topic-attempts``: an int32, one unsigned byte before Spring Kafka 2.7.9."""
    number = int.from_bytes(value, "big")
    if len(value) not in (1, 4) or not 1 <= number <= 32767:
        raise ValueError("not a number of attempts")
    return number


def _big_integer(value: bytes) -> int:
    """Read what Java's ``BigInteger.toByteArray`` wrote: big-endian, no longer than it must be."""
    if not 1 <= len(value) <= 8:
        raise ValueError("not a timestamp")
    return int.from_bytes(value, "big", signed=True)


def _time(value: bytes) -> float:
    moment = datetime.fromisoformat(value.decode("ascii").replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError("a time without its offset from UTC")
    return (moment - _EPOCH).total_seconds()


def _place(family: str, prefix: str, number: Callable[[int], _Decoder]) -> dict[str, tuple[str, str, _Decoder]]:
    return {
        prefix + "topic": (family, "topic", _text),
        prefix + "partition": (family, "partition", number(4)),
        prefix + "offset": (family, "offset", number(8)),
        prefix + "timestamp": (family, "timestamp_ms", number(8)),
        prefix + "timestamp-type": (family, "timestamp_type", _text),
    }


_ANY_FAMILY: Final = ""
_PLACES: Final[Mapping[str, tuple[str, str, _Decoder]]] = {
    **_place("dlt", SPRING + "original-", _binary),
    **_place("retry", "kafka_original-", _binary),
    # Spring's retry topics write the group under the name with dlt- in it, too.
    SPRING + "original-consumer-group": (_ANY_FAMILY, "consumer_group", _text),
    **_place("cloud-stream", "x-original-", _decimal_or_binary),
    **_place("streams", "__streams.errors.", _decimal_or_binary),
    **_place("connect", "__connect.errors.", _decimal_or_binary),
}


_EXCEPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    prefix + part: (family, field)
    for family, prefix, parts in (
        ("dlt", SPRING + "exception-", ("fqcn", "message", "stacktrace", "cause-fqcn")),
        ("retry", "kafka_exception-", ("fqcn", "message", "stacktrace", "cause-fqcn")),
        ("cloud-stream", "x-exception-", ("fqcn", "message", "stacktrace")),
        ("streams", "__streams.errors.", ("exception", "message", "stacktrace")),
        ("connect", "__connect.errors.exception.", ("class.name", "message", "stacktrace")),
    )
    for part, field in zip(parts, ("exception_class", "message", "stacktrace", "cause_class"), strict=False)
}

_OTHERS: Final[Mapping[str, tuple[str, _Decoder]]] = {
    **{
        prefix + "key-exception-" + part: ("key_exception_" + field, _text)
        for prefix in (SPRING, "kafka_")
        for part, field in (("fqcn", "class"), ("message", "message"), ("stacktrace", "stacktrace"))
    },
    STAGE: ("stage", _text),
    "__connect.errors.stage": ("stage", _text),
    DISPOSITION: ("disposition", _text),
    ATTEMPTS: ("attempts", _count),
    REASON: ("reason", _text),
    FINGERPRINT: ("fingerprint", _text),
    FIRST_FAILED_AT: ("first_failed_at", _time),
    FAILED_AT: ("failed_at", _time),
    REPLAY_COUNT: ("replay_count", _count),
    REPLAY_ID: ("replay_id", _text),
    "kafka_deliveryAttempt": ("delivery_attempt", _delivery_attempt),
    "retry_topic-attempts": ("retry_attempts", _retry_attempts),
    "retry_topic-original-timestamp": ("retry_original_timestamp_ms", _big_integer),
    "retry_topic-backoff-timestamp": ("retry_due_ms", _big_integer),
}


# What we say of a failure; the replays are the record's own history.
_OURS: Final = frozenset({STAGE, DISPOSITION, ATTEMPTS, REASON, FINGERPRINT, FIRST_FAILED_AT, FAILED_AT})


def read_dead_letter(headers: Sequence[tuple[str, bytes | None]]) -> DeadLetterInfo:
    """Read the headers of a dead letter of ours, of Spring Kafka's two families, or of another program.

    Understood besides ours: Spring's ``kafka_dlt-*``, the ``kafka_*`` and ``retry_topic-*`` of its retry
    topics, Spring Cloud Stream's ``x-original-*`` and ``x-exception-*``, Kafka Streams'
    ``__streams.errors.*`` and Kafka Connect's ``__connect.errors.*``. Where a header is repeated the last
    value counts, except that the places a record has passed through are told apart. Never raises.
    """
    exceptions: dict[str, dict[str, Any]] = {}
    found: dict[str, Any] = {}
    said: dict[str, Any] = {}
    unreadable: set[str] = set()
    latest = ""

    def decode(name: str, value: bytes, decoder: _Decoder) -> Any:
        try:
            return decoder(value)
        except (ValueError, OverflowError):
            unreadable.add(name)
            return None

    hops = _hops(headers, decode)
    for name, value in headers:
        if value is None:
            continue
        if name in _EXCEPTIONS:
            latest, field = _EXCEPTIONS[name]
            # Ours are written after the exception: one that follows them is of a later failure, somewhere else.
            said.clear()
            exceptions.setdefault(latest, {})[field] = _text(value)
        elif name in _OTHERS:
            field, decoder = _OTHERS[name]
            (said if name in _OURS else found)[field] = decode(name, value, decoder)

    found |= said
    next_attempt, delivery = found.pop("retry_attempts", None), found.pop("delivery_attempt", None)
    if found.get("attempts") is None:
        found["attempts"] = next_attempt - 1 if next_attempt is not None else delivery if hops else None
    return DeadLetterInfo(
        origin=hops[0] if hops else None,
        last_hop=hops[-1] if hops else None,
        unreadable=tuple(dict.fromkeys(name for name, _ in headers if name in unreadable)),
        **exceptions.get(latest, {}),
        **found,
    )


def _hops(headers: Sequence[tuple[str, bytes | None]], decode: Callable[[str, bytes, _Decoder], Any]) -> list[Hop]:
    """Tell apart the places a record has passed through, oldest first.

    Headers that stand side by side, of one family and each of them once, tell of one place. Several such
    runs do too, if they have no part in common: some writers keep headers in a map and lose their order.
    """
    runs: list[_Run] = []
    adjacent = False
    for name, value in headers:
        if name not in _PLACES or value is None:
            adjacent = False
            continue
        family, field, decoder = _PLACES[name]
        run = (family, {field: decode(name, value, decoder)})
        if adjacent:
            _join(runs, run)
        else:
            runs.append(run)
        adjacent = True
    places: list[_Run] = []
    for run in runs:
        _join(places, run)
    return [Hop(**parts) for _, parts in places]


def _join(runs: list[_Run], run: _Run) -> None:
    """Add to the last run if both can be of one place, else append."""
    family, parts = run
    if runs:
        last_family, last_parts = runs[-1]
        related = _ANY_FAMILY in (family, last_family) or family == last_family
        if related and last_parts.keys().isdisjoint(parts):
            runs[-1] = (family or last_family, last_parts | parts)
            return
    runs.append(run)
