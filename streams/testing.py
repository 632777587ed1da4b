"""Testing your own agents without a broker.

An agent is run by Faust's ``agent.test_context()`` and given a batch made here; what it emitted is then in
:attr:`Batch.outputs`, dead letters included, and how its records ended in :attr:`Batch.tally`::

    from streams.testing import batch, record

    async def test_an_order_is_confirmed_under_its_own_key():
        taken = batch(record({"orderId": "7"}, key=b"7"))
        async with confirmations.test_context() as agent:
            await agent.put(taken)
        (confirmation,) = taken.outputs
        assert confirmation.key == b"7"

A handler that fails for the time being stops its batch, as it would in a worker. Waiting is the lane's part,
and here there is none: put the same batch again to make the next attempt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from pydantic import BaseModel

from streams.dead_letters.writing import Limits
from streams.delivery.batch import Batch, Rules
from streams.failure.policy import FailurePolicy
from streams.kafka.record import Headers, Record
from streams.settings import FailureSettings, TopicSettings

TIMESTAMP: Final = 1_291_191_960_000
"""2010-12-01T08:26:00Z in milliseconds: a fixed moment, so that a test gives the same bytes tomorrow."""

# Two retries are enough to see a first failure, a second one and the last.
_FAILURE: Final = FailureSettings(
    backoff="fixed", initial_interval=0.01, max_retries=2, pause_interval=0.01, handler_timeout=5.0
)

RULES: Final = Rules(
    group="test",
    policy=FailurePolicy.of(_FAILURE),
    dead_letter_suffix=".DLT",
    limits=Limits.of(_FAILURE),
    max_output_bytes=TopicSettings().max_message_bytes,
)
"""What :func:`batch` uses: three attempts 10 ms apart, 5 s for a coroutine, dead letters in ``<topic>.DLT``."""


def record(
    value: bytes | Mapping[str, Any] | BaseModel | None,
    *,
    topic: str = "test",
    key: bytes | None = None,
    headers: Headers = (),
    partition: int = 0,
    offset: int = 0,
    timestamp: int = TIMESTAMP,
) -> Record:
    """Make a record as a handler is given it.

    Arguments:
        value: bytes and None (a tombstone) as they are; a mapping as JSON; a model as JSON by its aliases.
        topic: where it was read.
        key: raw bytes, or None.
        headers: (name, bytes) pairs; repeated names are allowed, as in Kafka.
        partition: likewise where it was read.
        offset: likewise.
        timestamp: of its producer, milliseconds since the epoch; -1 for none.

    Raises:
        TypeError: the mapping holds what JSON cannot; write a ``Decimal`` as text.
    """
    return Record(topic, partition, offset, timestamp, 0, key, _encoded(value), headers)


def batch(*records: Record, rules: Rules | None = None) -> Batch:
    """Make a batch as a lane would.

    Arguments:
        records: at least one, of one partition, with rising offsets. Gaps are allowed: transactions and
            compaction leave some.
        rules: how to treat the records; :data:`RULES` if not given.

    Raises:
        ValueError: no lane would make this batch of these records.
    """
    if not records:
        raise ValueError("a batch has at least one record")
    for one, next_one in pairwise(records):
        if (one.topic, one.partition) != (next_one.topic, next_one.partition):
            raise ValueError(f"a batch is of one partition, but {one!r} is followed by {next_one!r}")
        if one.offset >= next_one.offset:
            raise ValueError(f"offsets rise, but {one!r} is followed by {next_one!r}: give each its own")
    return Batch(records, rules or RULES)


def _encoded(value: bytes | Mapping[str, Any] | BaseModel | None) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, BaseModel):
        return value.model_dump_json(by_alias=True).encode()
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
