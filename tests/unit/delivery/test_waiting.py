"""Waiting for what is down: each dependency has a breaker of its own, whatever a lane has waited for before."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from faust.sensors import Monitor
from support.waiting import eventually

from streams.delivery.meter import Meter
from streams.delivery.status import Standing
from streams.delivery.surroundings import Surroundings
from streams.delivery.waiting import Waiting
from streams.failure.breaker import Breakers, BreakerState
from streams.failure.errors import DependencyUnavailable
from streams.testing import RULES


class _Around:
    """What waiting needs of a lane's surroundings."""

    def __init__(self) -> None:
        self.breakers = Breakers()
        self.meter = Meter(Monitor(), "agent")
        self.rules = RULES


async def test_what_is_down_after_another_thing_is_back_holds_up_nobody_who_waits_for_the_first() -> None:
    around = _Around()
    standing = Standing()
    one, other = (Waiting(each, cast("Surroundings", around)) for each in (standing, Standing()))
    attempts = 0
    database_is_back, broker_is_back = asyncio.Event(), asyncio.Event()

    async def needs_both() -> str:
        nonlocal attempts
        attempts += 1
        if not database_is_back.is_set():
            raise DependencyUnavailable("database", "it is away")
        if not broker_is_back.is_set():
            raise DependencyUnavailable("partition x-0", "it has no leader")
        return "done"

    async def needs_the_database() -> str:
        if not database_is_back.is_set():
            raise DependencyUnavailable("database", "it is away")
        return "done"

    first: asyncio.Future[Any] = asyncio.ensure_future(one.take(needs_both))
    await eventually(lambda: attempts, "the first to wait")
    second = asyncio.ensure_future(other.take(needs_the_database))
    database_is_back.set()
    assert await asyncio.wait_for(second, 10) == "done"
    await eventually(lambda: standing.reason == "it has no leader", "the first to wait for the other thing")
    assert around.breakers.of("database").state is BreakerState.CLOSED
    assert around.breakers.of("partition x-0").state is not BreakerState.CLOSED
    broker_is_back.set()
    assert await asyncio.wait_for(first, 10) == "done"
