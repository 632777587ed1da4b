"""A dead-letter topic that refuses: the lane halts, nothing is skipped, others go on, and so does it in the end."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest
from support.kafka import admin
from support.waiting import eventually

from chaos.arena import Arena, Opener
from chaos.figures import Figure, tell
from chaos.ledger import Fate, Ledger
from chaos.worker import ChaosWorker
from streams.sandbox import Cluster

_BEFORE, _AFTER = 30, 300
_REFUSED = 2
"""The partition whose letter is refused."""
_NOTHING_ELSE: dict[str, float] = {}


def _lanes(worker: ChaosWorker) -> dict[int, dict[str, Any]]:
    return {each["partition"]: each for each in json.loads(worker.fetch("/status/")[1])["lanes"]}


async def _halt(field: Arena, worker: ChaosWorker) -> str:
    """Produce a letter among good payments; return why the lane halted while the others did their work."""
    field.ledger.plant(_REFUSED, Fate.OK)
    first = field.next_offset(_REFUSED)
    await field.write(_REFUSED, _BEFORE)
    field.ledger.plant(_REFUSED, Fate.PERMANENT)
    for partition in range(4):
        await field.write(partition, _AFTER)
    letter = first + _BEFORE

    def halted() -> str:
        lane = _lanes(worker)[_REFUSED]
        return str(lane["reason"]) if lane["state"] == "halted" else ""

    reason = await eventually(halted, "the lane to halt", every=0.1)

    def others_are_done() -> bool:
        done = field.progress.committed
        return all(lag == 0 for each, lag in field.lags().items() if each != _REFUSED) and done[_REFUSED] <= letter

    await eventually(others_are_done, "the other partitions to go on", every=0.1)
    halts = worker.said().count("has halted")
    await eventually(lambda: worker.said().count("has halted") > halts + 1, "it to be tried again", every=0.1)
    assert field.progress.committed[_REFUSED] <= letter, "the record was skipped"
    assert worker.fetch("/health/live/")[0] == 200, "a restart would not help"
    # Between two halts the lane is at work for a moment.
    await eventually(lambda: worker.fetch("/health/ready/")[0] == 503, "the worker to be unready")
    return reason


async def _goes_on(field: Arena, worker: ChaosWorker, cause: str) -> None:
    began = time.monotonic()
    await eventually(lambda: not any(field.lags().values()), "the lane to go on by itself")
    tell(Figure(field.run, f"{cause}: until the lane went on once it was mended", time.monotonic() - began))
    await eventually(lambda: worker.fetch("/health/ready/")[0] == 200, "the worker to be ready")
    assert worker.starts == 1


async def _set_largest(client: AIOKafkaAdminClient, topic: str, size: int) -> None:
    await client.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic, configs={"max.message.bytes": str(size)})]
    )


@pytest.mark.deadline(90)
async def test_a_dead_letter_topic_that_takes_no_letter_of_this_size(kafka: Cluster, arena: Opener) -> None:
    ledger = Ledger(1, shares=_NOTHING_ELSE)
    async with arena(kafka.bootstrap_servers, ledger=ledger) as field, admin(field.servers) as client:
        # Before the worker starts: the brokers may go by the old size for a moment.
        await _set_largest(client, field.dead_letters, 100)
        (worker,) = await field.staff(1)
        reason = await _halt(field, worker)
        assert "MessageSizeTooLarge" in reason, reason
        await _set_largest(client, field.dead_letters, 1_000_000)
        await _goes_on(field, worker, "dead-letter topic takes no letter")
        verdict = await field.verdict()
    assert verdict.exact, str(verdict)
    assert verdict.letters == 1


@pytest.mark.long
@pytest.mark.deadline(120)
async def test_a_dead_letter_topic_that_is_deleted(kafka: Cluster, arena: Opener) -> None:
    ledger = Ledger(1, shares=_NOTHING_ELSE)
    async with arena(kafka.bootstrap_servers, ledger=ledger) as field, admin(field.servers) as client:
        (worker,) = await field.staff(1)
        # The lane's producer has written to both topics, so it knows them and does not ask again.
        field.ledger.plant(_REFUSED, Fate.PERMANENT)
        await field.write(_REFUSED, 2)
        await eventually(lambda: not any(field.lags().values()), "the first letter")
        assert await field.keep_letters() == 1
        await client.delete_topics([field.dead_letters])

        async def gone() -> bool:
            return field.dead_letters not in await client.list_topics()

        await eventually(gone, "the topic to be gone", every=0.1)
        reason = await _halt(field, worker)
        assert field.dead_letters in reason
        await field.create_topics(field.dead_letters)
        await _goes_on(field, worker, "dead-letter topic deleted")
        verdict = await field.verdict()
    assert verdict.exact, str(verdict)
    assert verdict.letters == 2


# Kafka's numbers: a topic, literally named; to write; to deny.
_TOPIC, _LITERAL, _WRITE, _DENY = 2, 3, 4, 2


@pytest.mark.long
@pytest.mark.deadline(120)
async def test_a_dead_letter_topic_that_must_not_be_written(arena: Opener) -> None:
    properties = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
    }
    ledger = Ledger(1, shares=_NOTHING_ELSE)
    async with Cluster(properties=properties) as guarded, arena(guarded.bootstrap_servers, ledger=ledger) as field:
        (worker,) = await field.staff(1)
        async with admin(field.servers) as client:
            rule = (_TOPIC, field.dead_letters, _LITERAL, "User:ANONYMOUS", "*", _WRITE, _DENY)
            answer = await client._send_request(CreateAclsRequest(*rule))
            assert [code for code, _ in answer.creation_responses] == [0], answer
            reason = await _halt(field, worker)
            assert field.dead_letters in reason
            answer = await client._send_request(DeleteAclsRequest(*rule))
            assert [each[0] for each in answer.filter_responses] == [0], answer
        await _goes_on(field, worker, "dead-letter topic not to be written")
        verdict = await field.verdict()
    assert verdict.exact, str(verdict)
    assert verdict.letters == 1
