"""Every test in this folder that asks for ``witness`` runs a real Spring Kafka application, built from ``spring/``."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from interop.letters import Written, write_letters
from interop.witness import Witness, build
from support.worker import Crew

from streams.sandbox import Cluster

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents and "kafka" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def witness() -> Witness:
    """The Spring application; skips the test where it cannot be built for want of tools."""
    return build()


@pytest.fixture(scope="session")
def written(witness: Witness, kafka: Cluster) -> Written:
    """The dead letters that Spring has just written, one for each scenario."""
    return asyncio.run(write_letters(witness, kafka.bootstrap_servers))


@pytest.fixture
def crew(witness: Witness, kafka: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Crew]:
    """Workers with consumer groups of their own."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40]
    crew = Crew(kafka.bootstrap_servers, f"{name}-{uuid.uuid4().hex[:8]}", tmp_path)
    yield crew
    crew.dismiss()
    for worker in crew.workers:
        print(worker.tail())  # shown where the test failed
