"""A record as a handler sees it: raw bytes, decoded only when asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from streams.failure.errors import InvalidRecord, PermanentError, Undecodable
from streams.failure.policy import safe_reason
from streams.kafka.envelope import Envelope

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
        """Decode and validate the value as JSON.

        Raises:
            Undecodable: the value is null, empty, not UTF-8 or not JSON.
            InvalidRecord: it is JSON, but not what `model` describes.
        """
        value = self.value
        if not value:
            raise Undecodable("the value is empty" if value is not None else "the value is null (a tombstone)")
        try:
            # The validator itself: model_validate_json() costs a further call a payment for options not used.
            return cast("M", model.__pydantic_validator__.validate_json(value))
        except ValidationError as error:
            raise _refusal(value, error) from error

    def parse_as(self, adapter: TypeAdapter[T]) -> T:
        """Decode and validate the value as JSON, for what is a dataclass and no pydantic model.

        Raises:
            Undecodable: as :meth:`parse` does.
            InvalidRecord: likewise.
        """
        value = self.value
        if not value:
            raise Undecodable("the value is empty" if value is not None else "the value is null (a tombstone)")
        try:
            return adapter.validate_json(value)
        except ValidationError as error:
            raise _refusal(value, error) from error

    def __repr__(self) -> str:
        """Name the place only: a payload must not end in a log by way of a repr."""
        return f"<Record {self.topic}-{self.partition}@{self.offset}>"


def _refusal(value: bytes, error: ValidationError) -> PermanentError:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    if all(problem["type"] != "json_invalid" for problem in problems):
        return InvalidRecord(safe_reason(error))
    try:
        value.decode()
    except UnicodeDecodeError as broken:
        return Undecodable(f"the value is not UTF-8: byte {broken.start} cannot be decoded")
    return Undecodable(safe_reason(error))
