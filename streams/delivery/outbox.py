"""What handlers emit, held back until the batch is committed: records to write, and effects elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from streams.failure.errors import Unpublishable
from streams.kafka.clients import PRODUCER_BATCH_BYTES
from streams.kafka.record import Headers, Record
from streams.kafka.squeezing import squeezed_bytes

# Kafka counts its own framing against max.message.bytes, too: a few bytes for each header and 100 for the batch.
ENVELOPE_BYTES: Final = 16_384

BY_KEY: Final = -1
"""Instead of a partition: let the key decide."""

Savepoint = tuple[int, int]
"""How many outputs and how many effects there were."""


class Output(NamedTuple):
    """One record to be written. A tuple, because four are made for every payment."""

    topic: str
    partition: int
    """The source record's, used as it is if both topics have as many partitions; else, or if negative, the key
    decides."""
    key: bytes | None
    value: bytes | None
    headers: Headers


class SqueezedOutput(Output):
    """One that fits its topic only when it is compressed. Told by its kind: nothing is looked at for all the others."""

    __slots__ = ()


@dataclass(slots=True)
class Tally:
    """How records ended. ``consumed == processed + dead_lettered + skipped``, always."""

    processed: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    """By stage, for example ``{"validate": 2}``."""
    skipped: Counter[str] = field(default_factory=Counter)
    """By reason."""

    @property
    def dead_lettered(self) -> int:
        """Records that went to a dead-letter topic."""
        return sum(self.dead_letters.values())

    @property
    def consumed(self) -> int:
        """Records that were taken from the topic and brought to an end."""
        return self.processed + self.dead_lettered + sum(self.skipped.values())

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        self.processed += other.processed
        self.dead_letters.update(other.dead_letters)
        self.skipped.update(other.skipped)


class Outbox:
    """Collects what a batch's records lead to; what a failed record has led to is taken back.

    Arguments:
        max_bytes: largest batch the brokers accept (``max.message.bytes``).
        letter_bytes: likewise, of dead-letter topics; the same if not given.
    """

    __slots__ = ("_askers", "_effects", "_letter_bytes", "_limit", "_max_bytes", "_outputs", "_record")

    def __init__(self, max_bytes: int, letter_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._letter_bytes = letter_bytes or max_bytes
        self._limit = max_bytes - ENVELOPE_BYTES
        self._outputs: list[Output] = []
        self._effects: list[Any] = []
        self._askers: list[int] = []
        self._record: Record | None = None

    def emit(self, topic: str, value: bytes | None, *, key: bytes | None = None, headers: Headers = ()) -> None:
        """Write a record to `topic` when, and only when, the batch is committed.

        Arguments:
            topic: where to.
            value: the encoded value; None writes a tombstone.
            key: the encoded key; the source record's if not given.
            headers: (name, bytes) pairs.

        Raises:
            TypeError: key, value or a header is not bytes.
            Unpublishable: no broker would accept a value this large, compressed or not.
        """
        record = self._record
        if record is None:
            raise RuntimeError("emit() was called outside of a handler: outputs belong to the record in hand")
        key = record.key if key is None else key
        size = _size(topic, key, value, headers)
        if type(headers) is not list:
            headers = list(headers)
        kind = Output
        if size > self._limit:
            found, least = _fitting(self._max_bytes, size, key, value, headers)
            if found is None:
                raise Unpublishable(
                    f"an output for {topic} is {size} bytes with key and headers{_compressed(least, size)}, more than "
                    f"the {self._limit} that fit; raise PAYSTREAM_TOPICS__MAX_MESSAGE_BYTES and apply it to the topic"
                )
            kind = found
        # Under a key of its own: with others of that key, wherever they come from.
        partition = record.partition if key == record.key else BY_KEY
        self._outputs.append(kind(topic, partition, key, value, headers))

    def effect(self, effect: object) -> None:
        """Have `effect` happen when, and only when, the batch is committed.

        What it is, and where it happens, is a matter between the handler and what the agent's batches are
        finished with: ``app.batches(…, finish=…)``.
        """
        if self._record is None:
            raise RuntimeError("effect() was called outside of a handler: effects belong to the record in hand")
        self._effects.append(effect)
        self._askers.append(self._record.offset)

    @property
    def outputs(self) -> list[Output]:
        """What has been emitted and not been taken back, in order."""
        return self._outputs

    @property
    def effects(self) -> list[Any]:
        """The effects that have been asked for and not been taken back, in order."""
        return self._effects

    @property
    def askers(self) -> list[int]:
        """Of each of the effects, the offset of the record that has asked for it."""
        return self._askers

    def open(self, record: Record) -> Savepoint:
        """Begin a record and return the savepoint to go back to if it fails."""
        self._record = record
        return len(self._outputs), len(self._effects)

    def rollback(self, savepoint: Savepoint) -> None:
        """Take back everything emitted or asked for since `savepoint`."""
        outputs, effects = savepoint
        del self._outputs[outputs:]
        del self._effects[effects:]
        del self._askers[effects:]

    def close(self) -> None:
        """No record is in hand any more."""
        self._record = None

    def dead_letter(self, topic: str, headers: Headers, stub: Callable[[str], Headers] | None = None) -> None:
        """Write the record in hand, its key and value untouched, to a dead-letter topic.

        Arguments:
            topic: where to.
            headers: the letter's.
            stub: makes the headers of a letter without the value, given what to say of that; for what fits in no way.
        """
        record = self._record
        assert record is not None, "a dead letter belongs to the record in hand"
        key, value = record.key, record.value
        size = _size(topic, key, value, headers)
        kind, least = _fitting(self._letter_bytes, size, key, value, headers)
        if kind is None and stub is not None:
            headers = stub(
                f"left out, as it is {size} bytes with its headers{_compressed(least, size)}, more than the "
                f"{self._letter_bytes - ENVELOPE_BYTES} that fit (see PAYSTREAM_TOPICS__MAX_MESSAGE_BYTES): the record "
                f"is {record.topic}-{record.partition}@{record.offset}, for as long as that is kept"
            )
            key, value = key if len(key or b"") <= ENVELOPE_BYTES else None, None
        self._outputs.append((kind or Output)(topic, record.partition, key, value, headers))

    def drain(self) -> tuple[list[Output], list[Any], list[int]]:
        """Hand over what was emitted, what was asked for and by whom, and start anew."""
        drained = self._outputs, self._effects, self._askers
        self._outputs, self._effects, self._askers = [], [], []
        return drained


def _fitting(
    max_bytes: int, size: int, key: bytes | None, value: bytes | None, headers: Headers
) -> tuple[type[Output] | None, int]:
    """Say as which kind of output something fits, None if it does not, and how many bytes it is at least."""
    if size <= max_bytes - ENVELOPE_BYTES:
        return Output, size
    if size <= PRODUCER_BATCH_BYTES:
        return None, size  # others are in its batch, too
    least = squeezed_bytes(key, value, headers)
    return SqueezedOutput if least <= max_bytes else None, least


def _compressed(least: int, size: int) -> str:
    return f", and {least} compressed" if least < size else ""


def _size(topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Return the bytes of an output, as far as they depend on it.

    Raises:
        TypeError: something is not bytes. Here, where it is one record's failure, and not in the lane.
    """
    size = 0
    for part in (key, value):
        if part is not None:
            if type(part) is not bytes:
                raise TypeError(f"key or value of an output for {topic} is {type(part).__name__}: encode it to bytes")
            size += len(part)
    for name, text in headers:
        size += len(name)
        if text is not None:
            if type(text) is not bytes:
                raise TypeError(f"header {name} of an output for {topic} is {type(text).__name__}: encode it to bytes")
            size += len(text)
    return size
