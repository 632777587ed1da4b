from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest
from aiokafka.errors import (
    CommitFailedError,
    IllegalOperation,
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    NodeNotReadyError,
    ProducerFenced,
)

from streams.failure.errors import (
    BrokerDeadlineExceeded,
    CommitOutcomeUnknown,
    LaneFenced,
    MachineryFailure,
    OutputRefused,
    PaystreamError,
)
from streams.kafka.broker_step import describe, in_time

WHO = "shop.payments:payment.completed-3"


async def _raises(error: BaseException) -> str:
    raise error


async def _step(step: Awaitable[str], *, seconds: float = 30.0, committing: bool = False) -> str:
    return await in_time(WHO, "taking a step", step, seconds, committing=committing)


async def test_a_step_that_succeeds_gives_its_result() -> None:
    async def succeed() -> str:
        await asyncio.sleep(0)
        return "done"

    assert await _step(succeed()) == "done"


@pytest.mark.parametrize("committing", [False, True])
@pytest.mark.parametrize("kind", [ProducerFenced, InvalidProducerEpoch, IllegalOperation, CommitFailedError])
async def test_another_owner_means_that_nothing_was_committed_whatever_the_step(
    kind: type[KafkaError], committing: bool
) -> None:
    error = kind()
    with pytest.raises(LaneFenced, match=f"{WHO} lost its partition .* while taking a step") as caught:
        await _step(_raises(error), committing=committing)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("committing", "kind"), [(False, BrokerDeadlineExceeded), (True, CommitOutcomeUnknown)], ids=["else", "commit"]
)
async def test_no_answer_in_time_is_named_with_the_time_and_the_step_is_cancelled(
    committing: bool, kind: type[PaystreamError]
) -> None:
    ended = asyncio.Event()

    async def hang() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    with pytest.raises(kind, match=f"{WHO} had no answer for 0.02 s while taking a step"):
        await _step(hang(), seconds=0.02, committing=committing)
    assert ended.is_set()


@pytest.mark.parametrize(
    ("committing", "kind"), [(False, MachineryFailure), (True, CommitOutcomeUnknown)], ids=["else", "commit"]
)
async def test_what_else_the_client_says_is_passed_on_with_the_brokers_own_words(
    committing: bool, kind: type[PaystreamError]
) -> None:
    with pytest.raises(
        PaystreamError, match=r"failed while taking a step: NodeNotReadyError .*out for lunch"
    ) as caught:
        await _step(_raises(NodeNotReadyError("out for lunch")), committing=committing)
    assert type(caught.value) is kind


@pytest.mark.parametrize("error", [OutputRefused("too large"), ValueError("4111"), asyncio.CancelledError()])
async def test_what_is_not_kafkas_goes_through_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        await _step(_raises(error), committing=True)
    assert caught.value is error


def test_only_a_broker_may_be_quoted() -> None:
    assert describe(ValueError("card 4111111111111111")) == "ValueError"
    said = describe(MessageSizeTooLargeError("of 2000000 bytes"))
    assert said.startswith("MessageSizeTooLargeError (")
    assert "of 2000000 bytes" in said
