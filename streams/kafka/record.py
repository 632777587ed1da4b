"""A record as a handler sees it: raw bytes, decoded only when asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from streams.kafka.encoding import BYTE_ORDER_MARK, without_mark
from streams.kafka.envelope import Envelope
from streams.kafka.refused_value import nothing_to_read, why_refused

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

Header = tuple[str, bytes]
Headers = Sequence[Header]
M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

# Kafka's names for the two kinds of timestamp, as Spring writes them into a dead letter.
_TIMESTAMP_TYPES = {0: "CreateTime", 1: "LogAppendTime"}


class Record:
    """One Kafka record.

    Attributes:
        topic: where it was read.
        partition: likewise.
        offset: likewise.
        timestamp: milliseconds since the epoch, -1 if the record has none.
        timestamp_type: 0 set by the producer, 1 set by the broker.
        key: raw bytes, or None.
        value: raw bytes, or None for a tombstone.
        headers: in the record's order, duplicates kept.
    """

    __slots__ = (
        "_envelope",
        "headers",
        "key",
        "offset",
        "partition",
        "timestamp",
        "timestamp_type",
        "topic",
        "value",
    )

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        timestamp: int,
        timestamp_type: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.timestamp = timestamp
        self.timestamp_type = timestamp_type
        self.key = key
        self.value = value
        self.headers = headers
        self._envelope: Envelope | None = None

    @classmethod
    def of(cls, message: ConsumerRecord) -> Record:
        """Make a record of what aiokafka's consumer returned."""
        return cls(
            message.topic,
            message.partition,
            message.offset,
            message.timestamp,
            message.timestamp_type,
            message.key,
            message.value,
            message.headers,
        )

    @property
    def envelope(self) -> Envelope:
        """The record's CloudEvents attributes; empty where it has none."""
        if self._envelope is None:
            self._envelope = Envelope.read(self.headers)
        return self._envelope

    @property
    def timestamp_kind(self) -> str:
        """Kafka's name for :attr:`timestamp_type`."""
        return "NoTimestampType" if self.timestamp < 0 else _TIMESTAMP_TYPES[self.timestamp_type]

    def parse(self, model: type[M]) -> M:
        """Decode and validate the value as JSON; a byte order mark before it does not count.

        Raises:
            Skip: the value is null, and the record a delete marker (a tombstone).
            Undecodable: the value is null otherwise, empty, not UTF-8 or not JSON, or a CloudEvent in another mode
                than the binary one.
            InvalidRecord: it is JSON, but not what `model` describes.
        """
        value = self.value
        if not value:
            raise nothing_to_read(self.key, value, self.headers)
        try:
            # The validator itself: model_validate_json() costs a further call a payment for options not used.
            return cast("M", model.__pydantic_validator__.validate_json(value))
        except ValidationError as error:
            return cast("M", self._look_again(value, error, model.__pydantic_validator__.validate_json))

    def parse_as(self, adapter: TypeAdapter[T]) -> T:
        """Decode and validate the value as JSON, for what is a dataclass and no pydantic model.

        Raises:
            Undecodable: as :meth:`parse` does.
            InvalidRecord: likewise.
        """
        value = self.value
        if not value:
            raise nothing_to_read(self.key, value, self.headers)
        try:
            return adapter.validate_json(value)
        except ValidationError as error:
            return self._look_again(value, error, adapter.validate_json)

    def _look_again(self, value: bytes, error: ValidationError, read: Callable[[bytes], T]) -> T:
        """Read without its byte order mark what could not be read with it; raise what else is wrong.

        Only now, so that a record without one, which is every record of most shops, pays nothing for it.
        """
        if value.startswith(BYTE_ORDER_MARK):
            value = without_mark(value)
            try:
                return read(value)
            except ValidationError as behind_the_mark:
                error = behind_the_mark
        raise why_refused(value, self.headers, error) from error

    @property
    def place(self) -> str:
        """Where it was read, as ``topic-partition@offset``."""
        return f"{self.topic}-{self.partition}@{self.offset}"

    def __repr__(self) -> str:
        """Name the place only: a payload must not end in a log by way of a repr."""
        return f"<Record {self.place}>"
