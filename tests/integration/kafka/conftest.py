"""A broker that asks who one is, for all tests in this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from support.secured import START_SECONDS, Secured, secured


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """One broker with a listener for each protocol."""
    made = secured(tmp_path_factory.mktemp("secured"))
    asyncio.run(made.cluster.start(START_SECONDS))
    yield made
    asyncio.run(made.cluster.stop())
