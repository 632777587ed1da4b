"""What Kafka's client says in a worker's own log while its brokers are away, and when they are back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.agent import unique
from support.kafka import produce, wait_until_consumed
from support.payments import Raw, order
from support.waiting import eventually
from support.worker import Crew

from streams.kafka.topic_admin import apply_topics
from streams.sandbox import Cluster
from streams.settings import KafkaSettings, Settings
from streams.topics import PAYMENT_COMPLETED, declared_topics

_PATIENCE = 60.0


@pytest.fixture
def own_kafka() -> Iterator[Cluster]:
    """A broker that this test may stop."""
    cluster = Cluster()
    asyncio.run(cluster.start())
    yield cluster
    asyncio.run(cluster.stop())


@pytest.fixture
def crew(own_kafka: Cluster, tmp_path: Path) -> Iterator[Crew]:
    servers = own_kafka.bootstrap_servers
    asyncio.run(apply_topics(KafkaSettings(bootstrap_servers=servers), declared_topics(Settings())))
    crew = Crew(servers, unique("log"), tmp_path)
    yield crew
    crew.dismiss()


@pytest.mark.deadline(240)
async def test_what_is_held_back_is_counted_and_the_log_stays_whole_while_brokers_come_and_go(
    crew: Crew, own_kafka: Cluster
) -> None:
    (broker,) = own_kafka.brokers
    hasty = {"AGENTS": "hasty_log,agents.payments"}
    worker = await crew.hire("worker", agents=["agents.payments"], **hasty).start().ready(_PATIENCE)
    await eventually(lambda: worker.said().count("starts at offset") == 4, "the lanes to work", seconds=_PATIENCE)
    broker.kill()
    counted = re.compile(r"\(held back since the last time: [0-9,]+\)")
    await eventually(lambda: counted.search(worker.said()), "the client's complaints to be counted", seconds=_PATIENCE)
    await broker.start()
    await broker.wait_until_ready()
    await produce(crew.servers, PAYMENT_COMPLETED, [Raw(each % 4, b"o%d" % each, order(each)) for each in range(8)])
    await wait_until_consumed(crew.servers, crew.group(), PAYMENT_COMPLETED, seconds=_PATIENCE)
    assert await worker.terminate() == 0
    assert "Logging error" not in worker.said()
    assert "Traceback" not in worker.said()
