"""Workers that may open few files, on three brokers with many partitions: a connection is a file, too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.agent import unique
from support.databases import make_url_of, upgraded
from support.kafka import produce
from support.payments import Raw, order
from support.waiting import eventually
from support.worker import TRY_AGAIN, Crew

from streams.kafka.topic_admin import apply_topics
from streams.sandbox import Cluster
from streams.settings import KafkaSettings, Settings, TopicSettings
from streams.topics import PAYMENT_COMPLETED, declared_topics

pytestmark = pytest.mark.deadline(180)

_PARTITIONS = 36
# 288 partitions: 36 with outputs, 36 with dead letters at most, and 216 from which nothing follows.
_AGENTS = ("agents.payments", "agents.notifications", "agents.dead_letters")
_PATIENCE = 120.0


@pytest.fixture(scope="module")
def three_brokers() -> Iterator[Cluster]:
    cluster = Cluster(brokers=3)
    asyncio.run(cluster.start())
    settings = Settings(topics=TopicSettings(partitions=_PARTITIONS))
    asyncio.run(apply_topics(KafkaSettings(bootstrap_servers=cluster.bootstrap_servers), declared_topics(settings)))
    yield cluster
    asyncio.run(cluster.stop())


@pytest.fixture
def crew(three_brokers: Cluster, tmp_path: Path) -> Iterator[Crew]:
    crew = Crew(three_brokers.bootstrap_servers, unique("files"), tmp_path)
    yield crew
    crew.dismiss()


async def test_36_partitions_on_three_brokers_need_few_files_and_the_limit_is_raised_as_far_as_they_do(
    crew: Crew, tmp_path: Path
) -> None:
    url = await upgraded(make_url_of("sqlite", tmp_path, None))
    worker = crew.hire("worker", agents=_AGENTS, DATABASE__URL=url).start().limit_files(256, 512)
    await worker.ready(_PATIENCE)
    assert "may need 428 open files, connections included: the limit of 256 has been raised to 512" in worker.said()
    await eventually(lambda: worker.fetch("/health/ready/")[0] == 200, "all lanes to be open", seconds=_PATIENCE)
    at_rest = worker.open_files()
    await produce(crew.servers, PAYMENT_COMPLETED, [Raw(each % 36, b"o%d" % each, order(each)) for each in range(360)])
    for agent in ("payments", "notifications"):
        consumed = f"{agent}.consumed"
        await eventually(
            lambda consumed=consumed: worker.statistics()["metric_counts"].get(consumed) == 360,  # type: ignore[misc]
            f"360 records in {consumed}",
            seconds=_PATIENCE,
        )
    # Two for each partition with outputs, until it writes; with one producer for each of the 288 it was more than 512.
    assert at_rest < 200
    assert worker.open_files() < 300
    assert "[CRITICAL]" not in worker.said(), worker.tail()


async def test_a_worker_that_may_open_too_few_files_says_so_at_its_start_and_at_its_end(crew: Crew) -> None:
    worker = crew.hire("worker", agents=["agents.payments"], KAFKA__DEADLINE="10").start().limit_files(64, 64)
    assert await worker.ended(_PATIENCE) == TRY_AGAIN
    said = worker.said()
    (warned,) = [line for line in said.splitlines() if "may need 312 open files" in line]
    assert "[WARNING]" in warned
    assert "it may open 64. Raise its limit ('ulimit -n'" in warned
    (last,) = [line for line in said.splitlines() if "[CRITICAL]" in line]
    assert "too many open files: this process may have 64 open, connections included, and has. Raise its limit" in last
    assert "Kafka is away" not in said
