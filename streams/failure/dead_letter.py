"""The headers of a dead letter: written as Spring Kafka writes them, read as anybody may have written them.

Ten headers are Spring's, name for name and in its order (``DeadLetterPublishingRecoverer`` of Spring Kafka
2.8 to 4.1), in its encodings: partition is a big-endian int32, offset and timestamp are big-endian int64,
the rest is UTF-8. After them come ours, ``x-…``, all of them UTF-8 text.

Of what is written here only ``kafka_dlt-exception-message`` may hold payload: an exception that is not one of
ours may quote what it choked on. The dead-letter topic holds the original bytes beside it, so nobody reads
more there than they could anyway. The trace and ``x-error-reason`` quote nothing and may be shown anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from models.dead_letter import DeadLetterView
from streams.failure.errors import Stage
from streams.failure.fingerprint import fingerprint, qualified_name, root_cause, trace_text
from streams.failure.policy import Disposition, safe_reason, text_of

if TYPE_CHECKING:
    from streams.settings import FailureSettings

SPRING: Final = "kafka_dlt-"
STAGE: Final = "x-error-stage"
DISPOSITION: Final = "x-disposition"
ATTEMPTS: Final = "x-attempts"
FIRST_FAILED_AT: Final = "x-first-failed-at"
FAILED_AT: Final = "x-failed-at"
FINGERPRINT: Final = "x-error-fingerprint"
REASON: Final = "x-error-reason"
REPLAY_COUNT: Final = "x-replay-count"
REPLAY_ID: Final = "x-replay-id"

_CUT: Final = "…".encode()
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


# -- writing -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the failed record was read.

    Attributes:
        topic: the record's topic.
        partition: likewise.
        offset: likewise.
        timestamp_ms: the record's timestamp, milliseconds since the epoch; -1 if it has none.
        timestamp_type: Kafka's name: ``CreateTime``, ``LogAppendTime`` or ``NoTimestampType``.
        consumer_group: the group whose handler failed.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    timestamp_type: str
    consumer_group: str


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, and when.

    Attributes:
        error: the last exception.
        stage: the step that failed.
        disposition: why no further attempt is made.
        attempts: attempts made.
        first_failed_at: of the first attempt, seconds since the epoch.
        failed_at: of the last attempt, likewise.
    """

    error: Exception
    stage: Stage
    disposition: Disposition
    attempts: int
    first_failed_at: float
    failed_at: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The longest texts a dead letter carries, in bytes of UTF-8.

    Spring has none, and its users find dead letters that no broker accepts.

    Attributes:
        message_bytes: for the message and for the reason, each.
        trace_bytes: for the stack trace; 0 leaves it out.

    Raises:
        ValueError: a limit has no room for the mark that shows where a text was cut.
    """

    message_bytes: int
    trace_bytes: int

    def __post_init__(self) -> None:
        if self.message_bytes < len(_CUT) or 0 < self.trace_bytes < len(_CUT) or self.trace_bytes < 0:
            raise ValueError(f"{self}: a limit must be {len(_CUT)} bytes or more, or 0 for the trace")

    @classmethod
    def of(cls, settings: FailureSettings) -> Limits:
        """Read the limits from the settings."""
        return cls(settings.max_message_bytes, settings.max_trace_bytes)


# What an earlier failure left behind says nothing of this one. Spring replaces them name by name, so that an
# old message outlives a new exception that has none, and an old failure to read the key outlives everything.
_STALE: Final = frozenset(
    [SPRING + name for name in ("exception-fqcn", "exception-cause-fqcn", "exception-message")]
    + [SPRING + "exception-stacktrace"]
    + [SPRING + "key-exception-" + name for name in ("fqcn", "message", "stacktrace")]
    + [STAGE, DISPOSITION, ATTEMPTS, FIRST_FAILED_AT, FAILED_AT, FINGERPRINT, REASON]
)
# Java-serialised exceptions. Spring takes them off too, and takes one that arrives for an attack.
_NEVER_COPIED: Final = "springDeserializerException"


def dead_letter_headers(
    headers: Sequence[tuple[str, bytes]], origin: Origin, failure: Failure, limits: Limits
) -> list[tuple[str, bytes]]:
    """Write the headers of a dead letter.

    First a copy of the record's own headers, in their order and with their duplicates (a null value stays
    null), without what an earlier failure said of itself; ``x-replay-count`` and ``x-replay-id`` stay among
    them as they are. Then Spring's ten, then ours. The ``kafka_dlt-original-*`` of earlier hops are kept and
    the new ones appended, so the first says where a record truly comes from and the last where it failed most
    recently.

    ``exception-fqcn`` names the class of the error, ``exception-cause-fqcn`` that of its root cause, as
    Python's ``module.QualName``. The message is the error's and, after ``"; "``, its root cause's; where it
    is too long it keeps its beginning, which says what happened. The trace keeps its end, where Python puts
    the most recent call of the error that was caught. A message that would be empty is left out.

    Arguments:
        headers: of the record that failed.
        origin: where it was read.
        failure: what went wrong.
        limits: on the texts.
    """
    error = failure.error
    root = root_cause(error)
    written = [
        (name, value) for name, value in headers if name not in _STALE and not name.startswith(_NEVER_COPIED)
    ]
    written.append((SPRING + "exception-fqcn", _utf8(qualified_name(error))))
    written.append((SPRING + "exception-cause-fqcn", _utf8(qualified_name(root))))
    if message := _message(error, root):
        written.append((SPRING + "exception-message", _beginning(message, limits.message_bytes)))
    if limits.trace_bytes:
        written.append((SPRING + "exception-stacktrace", _end(trace_text(error), limits.trace_bytes)))
    written += [
        (SPRING + "original-topic", _utf8(origin.topic)),
        (SPRING + "original-partition", origin.partition.to_bytes(4, "big", signed=True)),
        (SPRING + "original-offset", origin.offset.to_bytes(8, "big", signed=True)),
        (SPRING + "original-timestamp", origin.timestamp_ms.to_bytes(8, "big", signed=True)),
        (SPRING + "original-timestamp-type", _utf8(origin.timestamp_type)),
        (SPRING + "original-consumer-group", _utf8(origin.consumer_group)),
        (STAGE, _utf8(failure.stage.value)),
        (DISPOSITION, _utf8(failure.disposition.value)),
        (ATTEMPTS, _utf8(str(failure.attempts))),
        (FIRST_FAILED_AT, _utf8(_rfc3339(failure.first_failed_at))),
        (FAILED_AT, _utf8(_rfc3339(failure.failed_at))),
        (FINGERPRINT, _utf8(fingerprint(error, failure.stage))),
        (REASON, _beginning(safe_reason(error), limits.message_bytes)),
    ]
    return written


def _message(error: Exception, root: Exception) -> str:
    # str() of a ValidationError runs over many lines and quotes the record; its reason says the same without.
    outer, inner = (
        safe_reason(each) if isinstance(each, ValidationError) else text_of(each) for each in (error, root)
    )
    return outer if inner in outer else "; ".join(filter(None, (outer, inner)))


def _utf8(text: str) -> bytes:
    # Lone surrogates come from file names and from careless decoding; they must not break a dead letter.
    return text.encode("utf-8", "backslashreplace")


def _beginning(text: str, limit: int) -> bytes:
    raw = _utf8(text)
    if len(raw) <= limit:
        return raw
    return _whole_characters(raw[: max(0, limit - len(_CUT))]) + _CUT


def _end(text: str, limit: int) -> bytes:
    raw = _utf8(text)
    if len(raw) <= limit:
        return raw
    return _CUT + _whole_characters(raw[len(raw) - max(0, limit - len(_CUT)) :])


def _whole_characters(raw: bytes) -> bytes:
    return raw.decode("utf-8", "ignore").encode()


def _rfc3339(seconds: float) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- reading -----------------------------------------------------------------------------------------


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


def _place(
    family: str, prefix: str, number: Callable[[int], _Decoder]
) -> dict[str, tuple[str, str, _Decoder]]:
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
    "retry_topic-attempts": ("retry_attempts", _retry_attempts),
    "retry_topic-original-timestamp": ("retry_original_timestamp_ms", _big_integer),
    "retry_topic-backoff-timestamp": ("retry_due_ms", _big_integer),
}


def read_dead_letter(headers: Sequence[tuple[str, bytes | None]]) -> DeadLetterInfo:
    """Read the headers of a dead letter of ours, of Spring Kafka's two families, or of another program.

    Understood besides ours: Spring's ``kafka_dlt-*``, the ``kafka_*`` and ``retry_topic-*`` of its retry
    topics, Spring Cloud Stream's ``x-original-*`` and ``x-exception-*``, Kafka Streams'
    ``__streams.errors.*`` and Kafka Connect's ``__connect.errors.*``. Where a header is repeated the last
    value counts, except that the places a record has passed through are told apart. Never raises.
    """
    exceptions: dict[str, dict[str, Any]] = {}
    found: dict[str, Any] = {}
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
            exceptions.setdefault(latest, {})[field] = _text(value)
        elif name in _OTHERS:
            field, decoder = _OTHERS[name]
            found[field] = decode(name, value, decoder)

    next_attempt = found.pop("retry_attempts", None)
    if found.get("attempts") is None and next_attempt is not None:
        found["attempts"] = next_attempt - 1
    return DeadLetterInfo(
        origin=hops[0] if hops else None,
        last_hop=hops[-1] if hops else None,
        unreadable=tuple(dict.fromkeys(name for name, _ in headers if name in unreadable)),
        **exceptions.get(latest, {}),
        **found,
    )


def _hops(
    headers: Sequence[tuple[str, bytes | None]], decode: Callable[[str, bytes, _Decoder], Any]
) -> list[Hop]:
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


def dead_letter_view(
    topic: str, partition: int, offset: int, key: bytes | None, info: DeadLetterInfo
) -> DeadLetterView:
    """Put together what is shown of the dead letter at a place of the dead-letter topic."""
    origin, last_hop = info.origin or Hop(), info.last_hop or Hop()
    return DeadLetterView(
        topic=topic,
        partition=partition,
        offset=offset,
        order_id=_order_id(key),
        origin_topic=origin.topic,
        origin_partition=origin.partition,
        origin_offset=origin.offset,
        origin_timestamp=_moment(origin.timestamp_ms),
        consumer_group=last_hop.consumer_group,
        stage=info.stage,
        disposition=info.disposition,
        attempts=info.attempts,
        reason=info.reason,
        exception_class=info.cause_class or info.exception_class or info.key_exception_class,
        first_failed_at=_moment(info.first_failed_at, per_second=1),
        failed_at=_moment(info.failed_at, per_second=1),
        fingerprint=info.fingerprint,
        replay_count=info.replay_count or 0,
    )


def _order_id(key: bytes | None) -> str | None:
    try:
        return None if key is None else key.decode()
    except UnicodeDecodeError:
        return None


def _moment(count: float | None, per_second: int = 1000) -> datetime | None:
    """Make a time of a count since the epoch; None for Kafka's -1 and for what no calendar has."""
    try:
        return None if count is None or count < 0 else _EPOCH + timedelta(seconds=count / per_second)
    except OverflowError:
        return None
