"""Producers that the brokers have forgotten, and what aiokafka makes of that.

Brokers forget a transactional id that has had no transaction for ``transactional.id.expiration.ms`` (7 days by
default); before Kafka 2.5, also a producer without transactions whose records were deleted. The next thing that such a
producer asks for is refused, and aiokafka takes that for a defect of its own: it logs a traceback, and says everywhere
that delivery has failed, and nowhere why.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidProducerIdMapping, KafkaError, UnknownProducerId

from streams.failure.errors import LaneHalted, ProducerForgotten

# The id stands for nobody, or by now for another producer. ProducerFenced and InvalidProducerEpoch are none of these:
# there the brokers know who has taken over. OutOfOrderSequenceNumber says that records are missing.
_FORGOTTEN: Final = (InvalidProducerIdMapping, UnknownProducerId)


@contextmanager
def noticing_forgotten(producer: AIOKafkaProducer, who: str) -> Iterator[None]:
    """Say of a failure in the block that the brokers have forgotten the producer, if that is why.

    Raises:
        ProducerForgotten: it is.
    """
    try:
        yield
    except (KafkaError, LaneHalted) as error:
        if not (_is_forgotten(error) or _is_forgotten(_end_of(producer))):
            raise
        raise ProducerForgotten(f"the brokers have forgotten the producer of {who}, which was idle for long") from error


def _end_of(producer: AIOKafkaProducer) -> BaseException | None:
    """Return what the task that sends has died of: aiokafka hands out copies of it that do not say why."""
    task = producer._sender.sender_task
    return task.exception() if task is not None and task.done() and not task.cancelled() else None


def _is_forgotten(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, _FORGOTTEN):
            return True
        error = error.__cause__
    return False


class NotOfForgotten(logging.Filter):
    """Holds back what aiokafka says of a producer that was forgotten: its lane says it, in a line of its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a message may pass."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        if any(argument in _FORGOTTEN for argument in arguments if isinstance(argument, type)):
            return False
        return not (record.exc_info and _is_forgotten(record.exc_info[1]))
