"""Agents run by Faust's ``test_context``, with the very rules a worker would give them and no broker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from faust.types import AgentT

from streams.app import app
from streams.application import rules_for, short_name
from streams.delivery import Batch, Record
from streams.testing import batch

Deliver = Callable[..., Awaitable[Batch]]


@pytest.fixture
def deliver() -> Deliver:
    """Hand records to an agent as one batch, and return the batch when the agent has given it back."""

    async def run(agent: AgentT[Any], *records: Record) -> Batch:
        group = f"{app.settings.app_id}.{short_name(agent)}"
        rules = rules_for(group, app.settings, dead_letters=agent.channel.dead_letters)  # type: ignore[attr-defined]
        taken = batch(*records, rules=rules)
        async with agent.test_context() as running:
            await running.put(taken)
        return taken

    return run
