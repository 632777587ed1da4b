"""Every test in this folder runs real workers on the embedded Apache Kafka, with topics of its own."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from support.kafka import recreate_declared_topics
from support.worker import Crew

from streams.sandbox import Cluster
from streams.settings import Settings

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.kafka)


@pytest.fixture
def crew(kafka: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Crew]:
    """Workers with a consumer group of their own, on topics that are empty."""
    asyncio.run(recreate_declared_topics(kafka.bootstrap_servers, Settings()))
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40]
    crew = Crew(kafka.bootstrap_servers, f"{name}-{uuid.uuid4().hex[:8]}", tmp_path)
    yield crew
    crew.dismiss()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of each worker's log where a test failed."""
    report = yield
    crew = getattr(item, "funcargs", {}).get("crew")
    if call.when == "call" and report.failed and isinstance(crew, Crew):
        for worker in crew.workers:
            report.sections.append((f"log of worker {worker.name}, ended with {worker.status}", worker.tail()))
    return report
