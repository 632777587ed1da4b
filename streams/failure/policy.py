"""What to do about a record whose handler failed: a pure function of the failure and the settings."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import ValidationError
from pydantic_core.core_schema import ErrorType

from streams.failure.backoff import BackOff, ExponentialBackOff, FixedBackOff
from streams.failure.errors import (
    DependencyUnavailable,
    MachineryFailure,
    PaystreamError,
    PermanentError,
    RecordError,
    Stage,
    TransientError,
)
from streams.failure.fingerprint import causes, field_path, is_field_name, qualified_name

if TYPE_CHECKING:
    from streams.settings import FailureSettings


class Disposition(str, enum.Enum):
    """Why a record is a dead letter; one of its headers."""

    PERMANENT = "permanent"
    """Trying again cannot help."""
    EXHAUSTED = "exhausted"
    """Attempts or time were used up."""
    MANUAL = "manual"
    """Somebody decided so."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `after` seconds."""

    after: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Write the record to the dead-letter topic.

    Attributes:
        reason: one line without payload, as :func:`safe_reason` returns it.
        stage: the step that failed.
        disposition: why no further attempt is made.
    """

    reason: str
    stage: Stage
    disposition: Disposition


@dataclass(frozen=True, slots=True)
class Pause:
    """Hold the partition and try the record again after `after` seconds: `dependency` is down."""

    dependency: str
    after: float
    reason: str = field(default="", compare=False)
    """One line without payload, as :func:`safe_reason` returns it."""


Decision = Retry | DeadLetter | Pause

# A server may ask for a day; whoever waits behind the record does not have one.
_LONGEST_HEEDED: Final = 300.0


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """When to try again and when to stop. All durations are in seconds.

    Attributes:
        backoff: the pauses between attempts, and how many there are.
        max_elapsed: no further attempt once this long has gone by since the first failure, time spent in
            handlers included. Spring's own limit, in `backoff`, counts the pauses only; without this one, a
            handler that hangs until its time-out would hold its partition for far longer than was set.
        pause_interval: between two probes of a dependency that is down.
        handler_timeout: longest one asynchronous handler call may take.
    """

    backoff: BackOff
    max_elapsed: float
    pause_interval: float
    handler_timeout: float

    @classmethod
    def of(cls, settings: FailureSettings) -> FailurePolicy:
        """Read the policy from the settings."""
        backoff: BackOff
        if settings.backoff == "fixed":
            backoff = FixedBackOff(settings.initial_interval, settings.max_retries)
        else:
            backoff = ExponentialBackOff(
                initial_interval=settings.initial_interval,
                multiplier=settings.multiplier,
                max_interval=settings.max_interval,
                max_elapsed=settings.max_elapsed,
                max_retries=settings.max_retries,
                jitter=settings.jitter,
            )
        return cls(
            backoff=backoff,
            max_elapsed=settings.max_elapsed,
            pause_interval=settings.pause_interval,
            handler_timeout=settings.handler_timeout,
        )


def decide(
    error: Exception,
    attempt: int,
    elapsed: float,
    policy: FailurePolicy,
    random: Callable[[], float] = random.random,
) -> Decision:
    """Decide about a record whose handler raised `error`.

    The first exception along the chain of causes that says what kind of failure it is decides, as in Spring
    Kafka: a ``RuntimeError`` raised from an ``InvalidRecord`` is permanent, a ``TransientError`` raised from
    an ``InvalidRecord`` is not. A pydantic ``ValidationError`` is permanent; a handler that validates what a
    *service* told it, rather than the record, should raise a ``TransientError`` from it. What says nothing
    (a ``KeyError``, a ``UnicodeDecodeError``) is retried.

    A failure that says how long to wait is given at least as long, up to five minutes; a retry, what is left of
    the policy's time.

    Arguments:
        error: what the handler raised.
        attempt: how many attempts have failed, this one included. Those that ended in a Pause do not count.
        elapsed: seconds since the first of them, without the time spent paused.
        policy: the settings.
        random: returns a number in [0, 1); for the jitter.

    Raises:
        MachineryFailure: `error` itself, if it is one: no fault of the record, and the process must end.
        ValueError: `attempt` is less than 1.
    """
    if isinstance(error, MachineryFailure):
        raise error
    found = _classified(error)
    if isinstance(found, DependencyUnavailable):
        asked = min(found.after, _LONGEST_HEEDED)
        return Pause(found.dependency, max(policy.pause_interval, asked), safe_reason(error))
    if isinstance(found, (PermanentError, ValidationError)):
        return DeadLetter(safe_reason(error), _stage(found), Disposition.PERMANENT)
    after = policy.backoff.delay(attempt, random)
    if after is None or elapsed >= policy.max_elapsed:
        return DeadLetter(safe_reason(error), _stage(found), Disposition.EXHAUSTED)
    asked = found.after if isinstance(found, TransientError) else 0.0
    return Retry(max(after, min(asked, _LONGEST_HEEDED, policy.max_elapsed - elapsed)))


def _classified(error: Exception) -> RecordError | ValidationError | None:
    return next((each for each in causes(error) if isinstance(each, (RecordError, ValidationError))), None)


def culprit_of(error: Exception) -> str:
    """Return whose fault a failure is, where it is one party's alone; nothing otherwise."""
    found = _classified(error)
    return found.culprit if isinstance(found, RecordError) else ""


def _stage(found: RecordError | ValidationError | None) -> Stage:
    if isinstance(found, RecordError):
        return found.stage
    if isinstance(found, ValidationError):
        return Stage.DECODE if any(each["type"] == "json_invalid" for each in _problems(found)) else Stage.VALIDATE
    return Stage.HANDLE


# -- what may be said about it ---------------------------------------------------------------------

_PROBLEMS_NAMED: Final = 3
# A payload's text shorter than this turns up in any message by chance; it is masked where it has quotes.
_SHORTEST_QUOTE: Final = 3
# An order of a few hundred lines is searched whole, in some milliseconds.
_PARTS_SEARCHED: Final = 5000
_PYDANTICS_OWN: Final = frozenset(get_args(ErrorType))
# In bits. Python refuses to write integers of more than 4300 digits, and no message quotes those either.
_LONGEST_INTEGER: Final = 1024


def safe_reason(error: Exception) -> str:
    """Say in one line what went wrong, without payload: fit for a log, a header and a metric's example.

    That is the message of the first exception of ours along the chain of causes, whose authors promise not
    to quote the record; for a pydantic ``ValidationError`` its first three errors as ``field.path: message``;
    for anything else the class's name alone, because an arbitrary message may quote anything.
    """
    for each in causes(error):
        if isinstance(each, ValidationError):
            return one_line(_validation_reason(each))
        if isinstance(each, PaystreamError):
            return one_line(text_of(each)) or qualified_name(each)
    return qualified_name(error)


def text_of(error: Exception) -> str:
    """Return ``str(error)``, or nothing if the exception cannot even say that."""
    try:
        return str(error)
    except Exception:
        return ""


def _validation_reason(error: ValidationError) -> str:
    problems = _problems(error)
    named = [": ".join(filter(None, (field_path(each["loc"]), _message(each)))) for each in problems[:_PROBLEMS_NAMED]]
    if len(problems) > _PROBLEMS_NAMED:
        named.append(f"and {len(problems) - _PROBLEMS_NAMED} more")
    return "; ".join(named)


def _problems(error: ValidationError) -> list[Any]:
    return error.errors(include_url=False, include_context=False)


def _message(problem: dict[str, Any]) -> str:
    """Return pydantic's message with ``…`` for whatever it quotes of the input.

    Most quote nothing, but a validator's ``int(value)`` puts the value into its ``ValueError``'s message.
    Where the input is too large to be searched, only the error's type is told. An error type of a model's
    own is that of an author who chose what to say, as with our exceptions.
    """
    if problem["type"] not in _PYDANTICS_OWN:
        return str(problem["msg"])
    leaves = _leaves(problem["input"])
    if leaves is None:
        return str(problem["type"])
    message: str = problem["msg"]
    for leaf in sorted(leaves, key=len, reverse=True):
        message = message.replace(repr(leaf), "…")
        if len(leaf) >= _SHORTEST_QUOTE:
            message = message.replace(leaf, "…")
    return message


def _leaves(value: object) -> set[str] | None:
    """Return the values in the input, and keys that are no fields' names, as text; None if too many."""
    found: set[str] = set()
    waiting = [value]
    for _ in range(_PARTS_SEARCHED):
        if not waiting:
            return found
        current = waiting.pop()
        if isinstance(current, dict):
            # A validator that names the fields it compared does not quote the record.
            waiting += [key for key in current if not (isinstance(key, str) and is_field_name(key))]
            waiting += current.values()
        elif isinstance(current, (list, tuple)):
            waiting += current
        elif isinstance(current, bytes):
            found.add(current.decode("utf-8", "replace"))
        elif isinstance(current, str):
            found.add(current)
        elif isinstance(current, float) or (type(current) is int and current.bit_length() < _LONGEST_INTEGER):
            found.add(str(current))
    return None


def one_line(text: str) -> str:
    """Put text on one line, without anything that a terminal or a log's reader could take for more than text."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
