"""Every error of paystream, as one tree.

::

    PaystreamError
    ├── RecordError                    one record failed; the policy decides what happens to it
    │   ├── PermanentError             trying again cannot help: dead-lettered at once
    │   │   ├── Undecodable            the bytes are not what the topic promises
    │   │   ├── InvalidRecord          decoded, but it breaks the contract or contradicts itself
    │   │   │   └── IdTaken            its id is that of another record, which said something else
    │   │   └── Unpublishable          an output that no broker would accept
    │   ├── TransientError             may succeed later: retried with back-off
    │   │   └── HandlerTimeout         a handler took longer than it is allowed to
    │   └── DependencyUnavailable      something the handler needs is down: the partition pauses
    ├── MachineryFailure               delivery itself is in doubt: the process ends, its supervisor restarts it
    │   ├── LaneFenced                 another worker owns the partition now
    │   ├── CommitOutcomeUnknown       nobody can say whether the commit happened
    │   ├── BrokerDeadlineExceeded     the brokers did not answer for too long
    │   ├── LaneWouldNotStop           a lane outlived its deadline: two owners would be possible
    │   └── AgentContractBroken        an agent ended, or took a batch without finishing the one before
    ├── LaneHalted                     one lane stops and waits, all others go on; nothing of it was committed
    │   ├── OutputRefused              the brokers refuse an output or a dead letter; skipping it would lose it
    │   ├── OutputUnserved         no broker serves a partition that an output goes to
    │   ├── BudgetExceeded             too many dead letters: it is not the records' fault any more
    │   ├── EffectsRefused             the database refuses what a batch is to do there
    │   ├── FilesDisagree              files and committed offset tell different stories
    │   ├── BatchDamaged               a batch that nobody can read; going on would give its records up
    │   ├── OffsetBeyondEnd            the log ends before the committed offset: brokers have lost records
    │   ├── ProducerForgotten          it was idle for so long that the brokers know its producer no more
    │   ├── TopicDeleted               its topic is not there any more
    │   └── TopicMadeAnew              its topic, or that of its offset, was deleted, and there is another one
    ├── SetupError                     the worker or command cannot start as it is configured
    │   ├── BrokerUnreachable          nothing answers at the bootstrap address
    │   │   └── PartitionUnserved      brokers answer, but none of them serves a partition
    │   ├── BrokerRefuses              a broker answers, and does not let us in: password, certificate, protocol
    │   ├── BrokerMisconfigured        a setting of the brokers' own keeps everybody from working with them
    │   ├── DatabaseUnreachable        the database does not answer
    │   ├── TopicMissing               a topic that is needed does not exist
    │   └── SandboxError               the embedded Kafka could not be installed or started
    └── InputError                     a file given to a command is wrong at a known place

A :class:`Skip` is no error: it passes a record over, and is counted.

Exceptions that are none of these (a ``KeyError`` in a handler, say) count as transient: they are
retried, and dead-lettered when the retries are used up. A ``BaseException`` that is not an
``Exception`` is never swallowed and never dead-lettered.
"""

from __future__ import annotations

import enum
import os
from typing import ClassVar


class Stage(str, enum.Enum):
    """The step in which a record failed; one of the dead letter's headers."""

    DECODE = "decode"
    VALIDATE = "validate"
    HANDLE = "handle"
    PUBLISH = "publish"


class ExitStatus(enum.IntEnum):
    """What the process's exit status means; the numbers are those of ``sysexits.h``."""

    OK = 0
    """Stopped on request, with everything in hand finished."""
    FAILED = 1
    """A command did not do what it was asked, and said why."""
    BAD_INPUT = 65
    """A file given to a command is wrong (EX_DATAERR)."""
    UNREACHABLE = 69
    """No broker, or not the database, answered (EX_UNAVAILABLE). Start again when it is back."""
    SOFTWARE = 70
    """An agent broke its contract (EX_SOFTWARE). Starting again may not help: read the log."""
    TRY_AGAIN = 75
    """Delivery was in doubt, so the process ended (EX_TEMPFAIL). Starting again is safe and is the cure."""
    CONFIGURATION = 78
    """Settings or topics are not as they must be (EX_CONFIG)."""


class PaystreamError(Exception):
    """Base of every error raised by paystream."""

    exit_status: ClassVar[ExitStatus] = ExitStatus.FAILED


# -- one record ----------------------------------------------------------------------------------


class RecordError(PaystreamError):
    """One record failed. Its message must not quote the payload: it is logged.

    Arguments:
        args: what was seen, without payload.
        culprit: whose fault it is, where it is one party's alone: one customer's, one host's. Any text that is the
            same for the same party; compared and never shown. A partition does not halt over the letters of one
            party, however many they are.
    """

    stage: Stage = Stage.HANDLE

    def __init__(self, *args: object, culprit: str = "") -> None:
        super().__init__(*args)
        self.culprit = culprit


class PermanentError(RecordError):
    """Trying again cannot help: the record is dead-lettered at once."""


class Undecodable(PermanentError):
    """The bytes are not what the topic promises: not UTF-8, not JSON, empty, an event without its data."""

    stage = Stage.DECODE


class InvalidRecord(PermanentError):
    """The record decodes, but breaks its contract or contradicts itself."""

    stage = Stage.VALIDATE


class IdTaken(InvalidRecord):
    """A record of the same id came before, and said something else: this is no repeat, and nobody knows which is right.

    Arguments:
        first: where the one before was read, as ``topic-partition@offset``; None if that is not known.
    """

    def __init__(self, first: str | None) -> None:
        super().__init__(
            f"its id is taken: the record at {first or 'a place that is not known any more'} has the same id and other "
            "contents. Two events have one id, or one was changed and published again; the first counts, this one "
            "does not"
        )


class Unpublishable(PermanentError):
    """An output that no broker would accept, for example one larger than its topic allows."""

    stage = Stage.PUBLISH


class TransientError(RecordError):
    """May succeed later: the record is retried with back-off.

    Arguments:
        args: what was seen, without payload.
        after: seconds that whoever was asked wants to be left alone; the policy says how far it is heeded.
        culprit: whose fault it is, where it is one party's alone.
    """

    def __init__(self, *args: object, after: float = 0.0, culprit: str = "") -> None:
        super().__init__(*args, culprit=culprit)
        self.after = after


class HandlerTimeout(TransientError):
    """A handler took longer than the failure policy allows."""


class DependencyUnavailable(RecordError):
    """Something the handler needs is down.

    The partition pauses and tries again until it is back; nothing is dead-lettered for it.

    Arguments:
        dependency: its name, as an operator knows it (``"database"``, ``"smtp"``).
        reason: what was seen, without payload or credentials.
        after: seconds that it wants to be left alone; the policy says how far it is heeded.
    """

    def __init__(self, dependency: str, reason: str = "", *, after: float = 0.0) -> None:
        super().__init__(f"{dependency} is unavailable" + (f": {reason}" if reason else ""))
        self.dependency = dependency
        self.reason = reason
        self.after = after


class Skip(Exception):
    """Raised by a handler to pass a record over for a reason that is counted.

    What the handler had emitted for this record is taken back. :meth:`Record.parse` raises it of a delete marker.

    Arguments:
        reason: a short fixed text (``"guest"``); it becomes a counter's name.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


# -- the machinery -------------------------------------------------------------------------------


class MachineryFailure(PaystreamError):
    """Delivery itself is in doubt. Never repaired in place: the process ends and is started again."""

    exit_status = ExitStatus.TRY_AGAIN


class LaneFenced(MachineryFailure):
    """Another worker has taken the partition over; what this one had in hand was not committed."""


class CommitOutcomeUnknown(MachineryFailure):
    """The broker did not say whether the commit happened. The next owner of the partition finds out."""


class BrokerDeadlineExceeded(MachineryFailure):
    """The brokers did not answer within the deadline."""


class LaneWouldNotStop(MachineryFailure):
    """A lane was still alive after its deadline. Two owners of one partition must not be possible."""


class AgentContractBroken(MachineryFailure):
    """An agent's body ended, raised, or took a batch without having finished the one before."""

    exit_status = ExitStatus.SOFTWARE


class LaneHalted(PaystreamError):
    """One lane stops and waits, while all others go on.

    Its partition goes on, from the committed offset, with a lane made anew. What the lane had in hand is
    delivered again; with at_most_once, whose offset moves first, it is lost, and counted as skipped.
    """


class OutputRefused(LaneHalted):
    """The brokers refuse an output or a dead letter. Tried again by itself: the cure is on their side."""


class OutputUnserved(LaneHalted):
    """A partition that an output goes to has lost its leader while it was written to. Tried again by itself."""


class BudgetExceeded(LaneHalted):
    """Too many records were dead-lettered. Somebody has to look, and to say ``paystream lanes resume``."""


class EffectsRefused(LaneHalted):
    """The database refuses what a batch is to do there, or what carries it out is defective.

    A set-based statement does not say for which record. Tried again by itself, once somebody has mended it.
    """


class FilesDisagree(LaneHalted):
    """Files that are committed have gone, or files are there and no offset is: going on would lose or double rows.

    Looked at again by itself, once somebody has mended it.
    """


class BatchDamaged(LaneHalted):
    """A batch of records cannot be read. Giving them up is for somebody to decide: ``paystream lanes skip``.

    Looked at again by itself: its copy on another broker may be whole.
    """


class OffsetBeyondEnd(LaneHalted):
    """The log ends before the committed offset. Whether to read it again or to go on is not ours to guess.

    Looked at again by itself: a leader that has just been elected may not know its log's end yet.
    """


class ProducerForgotten(LaneHalted):
    """The lane was idle for so long that the brokers have forgotten its producer, and refuse what it begins.

    Opened anew at once, as after a rebalance. What it had in hand was not committed, or if it was, the offset says so.
    """


class TopicDeleted(LaneHalted):
    """The lane's topic is not there any more. Looked at again by itself: somebody may create it."""


class TopicMadeAnew(LaneHalted):
    """The topic was deleted, and there is another one of its name, in which an offset means another record.

    Looked at again by itself. Where offsets are in Kafka, the new topic is then read from its beginning. One in a
    database is not the brokers' to delete with its topic: there somebody has to say where to go on.
    """


# -- start-up and commands -----------------------------------------------------------------------


class SetupError(PaystreamError):
    """The worker or command cannot start as it is configured."""

    exit_status = ExitStatus.CONFIGURATION


class BrokerUnreachable(SetupError):
    """Nothing answers at the bootstrap address."""

    exit_status = ExitStatus.UNREACHABLE


class BrokerRefuses(SetupError):
    """A broker answers, and does not let us in: a password, a certificate or the protocol is not what it asks for."""


class BrokerMisconfigured(SetupError):
    """A setting of the brokers' own keeps everybody from working with them."""


class PartitionUnserved(BrokerUnreachable):
    """Brokers answer, but a partition has no leader: who keeps it is away. It passes when that is back."""


class DatabaseUnreachable(SetupError):
    """The database does not answer."""

    exit_status = ExitStatus.UNREACHABLE


class TopicMissing(SetupError):
    """A topic that is needed does not exist."""


class SandboxError(SetupError):
    """The embedded Kafka could not be installed or started."""


class InputError(PaystreamError):
    """A file given to a command is wrong at a known place.

    Arguments:
        file: path as the user gave it.
        reason: what is wrong there and what was expected.
        line: 1-based line number, if one can be named.
        column: column name (CSV) or field (JSON), if one can be named.
    """

    exit_status = ExitStatus.BAD_INPUT

    def __init__(
        self, file: str | os.PathLike[str], reason: str, *, line: int | None = None, column: str | None = None
    ) -> None:
        place = os.fspath(file) + (f":{line}" if line is not None else "")
        if column is not None:
            place += f": column {column!r}"
        super().__init__(f"{place}: {reason}")
        self.file = os.fspath(file)
        self.line = line
        self.column = column
        self.reason = reason


def how_to_install(extra: str) -> str:
    """Say how an extra is installed that somebody lacks: from the checkout, as paystream is on no registry."""
    return f"pip install '.[{extra}]' in the checkout of paystream"
