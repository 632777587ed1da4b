"""What all tests share: a clean environment, coroutine tests with a deadline, one real Kafka, real databases."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import async_timeout
import hypothesis
import pytest
from support.databases import DIALECTS, make_url_of, postgresql_server, settings_for, upgraded
from support.kafka import topics_with
from support.measured import lines_by_run

from streams.database.engine import Database
from streams.sandbox import Cluster
from streams.settings import PREFIX, settings

UNASKED_PARTITIONS = 23
"""What a topic has that the shared broker creates by itself; no test makes such a one."""
DEADLINE = 60.0
"""Seconds a coroutine test may take, unless it is marked ``deadline(seconds)``."""


def pytest_configure(config: pytest.Config) -> None:
    # Whoever runs the tests may have settings of their own; the tests have the defaults. Here, because
    # agent modules compose the application while tests are collected.
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        del os.environ[name]
    settings.cache_clear()
    # How long an example takes, or is in the making, says how busy the machine is.
    hypothesis.settings.register_profile(
        "patient",
        hypothesis.settings.default,
        deadline=None,
        suppress_health_check=[*hypothesis.settings.default.suppress_health_check, hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("patient")
    config.addinivalue_line(
        "markers", f"deadline(seconds): how long a coroutine test may take, instead of {DEADLINE:g} s"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function in an event loop of its own.

    ``asyncio.run`` cancels the tasks it leaves pending, so none gets into the next test.
    """
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    marker = pyfuncitem.get_closest_marker("deadline")
    seconds = float(marker.args[0]) if marker else DEADLINE
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def run() -> None:
        deadline = async_timeout.timeout(seconds)
        try:
            async with deadline:
                await test(**arguments)
        except asyncio.TimeoutError:
            if deadline.expired:  # or the test itself let one through
                pytest.fail(f"did not end within its deadline of {seconds:g} s")
            raise
        finally:
            # Connections belong to the loop that made them.
            for database in [each for each in arguments.values() if isinstance(each, Database)]:
                await database.close()

    asyncio.run(run())
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was measured, whichever process ran the test."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    found = lines_by_run(reports)
    if found:
        terminalreporter.section("what was measured")
    for run, lines in found.items():
        terminalreporter.write_line(run)
        for line in lines:
            terminalreporter.write_line(f"  {line}")


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    """Settings are read anew in each test: the environment may be another."""
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture(scope="session")
def kafka() -> Iterator[Cluster]:
    """One embedded broker for all tests of this process that ask for it; name your topics and groups uniquely.

    As Kafka does by default, it creates a topic when somebody asks for it by its name in the wrong way. None of ours
    may: in the end there must be no topic that looks like that.
    """
    cluster = Cluster(properties={"auto.create.topics.enable": "true", "num.partitions": str(UNASKED_PARTITIONS)})
    asyncio.run(cluster.start())  # a cluster belongs to no loop, so each test may use its own
    yield cluster
    unasked = asyncio.run(topics_with(cluster.bootstrap_servers, UNASKED_PARTITIONS))
    asyncio.run(cluster.stop())
    assert unasked == [], "nobody made these topics, and somebody has asked for them"


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One PostgreSQL server for all tests of this process that ask for it; its URL."""
    with postgresql_server(tmp_path_factory.mktemp("pg")) as url:
        yield url


@pytest.fixture
def postgresql_database(postgresql: str, tmp_path: Path) -> Database:
    """A new PostgreSQL database with the newest schema, for what SQLite cannot do; closed when the test ends."""
    return Database(settings_for(asyncio.run(upgraded(make_url_of("postgresql", tmp_path, postgresql)))))


@pytest.fixture(params=DIALECTS)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database without any table; the test runs once on SQLite and once on PostgreSQL."""
    server = request.getfixturevalue("postgresql") if request.param == "postgresql" else None
    return make_url_of(request.param, tmp_path, server)


@pytest.fixture
def database_url(empty_database_url: str) -> str:
    """The URL of a new database with the newest schema; once on SQLite and once on PostgreSQL."""
    return asyncio.run(upgraded(empty_database_url))


@pytest.fixture
def database(database_url: str) -> Database:
    """A new database with the newest schema, once of each kind; closed when the test ends."""
    return Database(settings_for(database_url))
