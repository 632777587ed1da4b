"""Awaiting a step that needs brokers, for so long and no longer, and saying what its failure means."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from aiokafka.errors import (
    CommitFailedError,
    IllegalOperation,
    InvalidProducerEpoch,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    ProducerFenced,
)
from async_timeout import timeout

from streams.failure.errors import BrokerDeadlineExceeded, CommitOutcomeUnknown, LaneFenced, MachineryFailure
from streams.kafka.connecting import troubles

# IllegalOperation is what aiokafka's producer raises when it was fenced between begin and send.
_FENCED: Final = (ProducerFenced, InvalidProducerEpoch, IllegalOperation, CommitFailedError)
T = TypeVar("T")


async def in_time(who: str, doing: str, step: Awaitable[T], seconds: float | None, *, committing: bool = False) -> T:
    """Await `step`.

    Arguments:
        who: the lane's name, for the message.
        doing: what it is doing, likewise.
        step: the step.
        seconds: how long the brokers may take; None where the step sees to that.
        committing: whether a failure leaves open if something was committed.

    Raises:
        LaneFenced: another owner of the partition was met.
        BrokerDeadlineExceeded: the brokers did not answer.
        CommitOutcomeUnknown: they did not answer, or failed, and `committing`.
        MachineryFailure: anything else that Kafka's client said.
    """
    try:
        async with timeout(seconds):
            return await step
    except _FENCED as error:
        raise LaneFenced(
            f"{who} lost its partition to another worker while {doing}; nothing of it was committed"
        ) from error
    except asyncio.TimeoutError as error:
        late = CommitOutcomeUnknown if committing else BrokerDeadlineExceeded
        waited = "in time" if seconds is None else f"for {seconds:g} s"
        why = troubles.lasting()
        raise late(f"{who} had no answer {waited} while {doing}" + (f": {why}" if why else "")) from error
    except KafkaError as error:
        kind = CommitOutcomeUnknown if committing else MachineryFailure
        # Where in the client a connection broke is nothing that anybody could use.
        cause = None if _is_of_a_connection(error) else error
        raise kind(f"{who} failed while {doing}: {describe(error)}") from cause


def _is_of_a_connection(error: BaseException | None) -> bool:
    """Whether it is one, or what aiokafka has made of one."""
    while error is not None:
        if isinstance(error, KafkaConnectionError | NodeNotReadyError):
            return True
        error = error.__cause__
    return False


def describe(error: Exception) -> str:
    """Name a Kafka error with its text, which comes from the broker; of others, the class alone."""
    if isinstance(error, KafkaError):
        return f"{type(error).__name__} ({error})"
    return type(error).__name__
