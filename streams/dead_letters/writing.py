"""The headers of a dead letter: written as Spring Kafka writes them, read as anybody may have written them.

Ten headers are Spring's, name for name and in its order (``DeadLetterPublishingRecoverer`` of Spring Kafka
2.8 to 4.1), in its encodings: partition is a big-endian int32, offset and timestamp are big-endian int64,
the rest is UTF-8. After them come ours, ``x-…``, all of them UTF-8 text.

Of what is written here only ``kafka_dlt-exception-message`` may hold payload: an exception that is not one of
ours may quote what it choked on. The dead-letter topic holds the original bytes beside it, so nobody reads
more there than they could anyway. The trace and ``x-error-reason`` quote nothing and may be shown anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from streams.failure.errors import Stage
from streams.failure.fingerprint import fingerprint, qualified_name, root_cause, trace_text
from streams.failure.policy import Disposition, safe_reason, text_of

if TYPE_CHECKING:
    from streams.settings import FailureSettings

SPRING: Final = "kafka_dlt-"
RETRYABLE: Final = "kafka_"
"""The prefix that ``@RetryableTopic`` uses instead."""
STAGE: Final = "x-error-stage"
DISPOSITION: Final = "x-disposition"
ATTEMPTS: Final = "x-attempts"
FIRST_FAILED_AT: Final = "x-first-failed-at"
FAILED_AT: Final = "x-failed-at"
FINGERPRINT: Final = "x-error-fingerprint"
REASON: Final = "x-error-reason"
LEFT_OUT: Final = "x-left-out-bytes"
"""Of a letter whose value was too large to be kept: how large it is."""
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
    [
        family + kind + name
        for family in (SPRING, RETRYABLE)
        for kind in ("exception-", "key-exception-")
        for name in ("fqcn", "cause-fqcn", "message", "stacktrace")
    ]
    + [STAGE, DISPOSITION, ATTEMPTS, FIRST_FAILED_AT, FAILED_AT, FINGERPRINT, REASON, LEFT_OUT]
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
    written = [(name, value) for name, value in headers if name not in _STALE and not name.startswith(_NEVER_COPIED)]
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


def stub_headers(
    value_bytes: int, origin: Origin, failure: Failure, limits: Limits, left_out: str
) -> list[tuple[str, bytes]]:
    """Write the headers of a dead letter that is too large to be kept, and so says where the record is.

    The record's own headers are left out like its value. The reason goes on with that, so that whoever reads why the
    record failed reads it, too.

    Arguments:
        value_bytes: how large the value is.
        origin: where the record was read.
        failure: what went wrong.
        limits: on the texts.
        left_out: what is said of it.
    """
    written = dead_letter_headers((), origin, failure, limits)
    name, reason = written.pop()
    assert name == REASON, "it is written last"
    return [*written, (REASON, reason + _utf8(f"; {left_out}")), (LEFT_OUT, _utf8(str(value_bytes)))]


def _message(error: Exception, root: Exception) -> str:
    # str() of a ValidationError runs over many lines and quotes the record; its reason says the same without.
    outer, inner = (safe_reason(each) if isinstance(each, ValidationError) else text_of(each) for each in (error, root))
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
