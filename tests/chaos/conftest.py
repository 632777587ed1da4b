"""The chaos tests show what they measured, also where they pass."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from support.measured import measured

from chaos.arena import Arena, Opener
from chaos.figures import taken
from chaos.ledger import Ledger

_HERE = Path(__file__).parent
SEED = 20101201


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos-seed", type=int, default=SEED, help="what the payments' fates are drawn from")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents and item.path.name != "test_checker.py":
            item.add_marker(pytest.mark.kafka)


@pytest.fixture
def arena(tmp_path: Path, request: pytest.FixtureRequest) -> Opener:
    """Open an arena on a cluster, named after the test."""

    def open_arena(servers: str, copies: int = 1, ledger: Ledger | None = None) -> AbstractAsyncContextManager[Arena]:
        name = re.sub(r"^test_", "", request.node.name).replace("_", " ")
        made = Arena(name, servers, tmp_path, ledger or Ledger(request.config.getoption("--chaos-seed")), copies)
        request.node._arena = made
        return made.opened()

    return open_arena


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what was measured and, where a test failed, the end of each worker's log."""
    report = yield
    seed = item.config.getoption("--chaos-seed")
    for figure in taken():
        measured(report, f"{figure.run}, with --chaos-seed={seed}", str(figure))
    arena = getattr(item, "_arena", None)
    if call.when == "call" and report.failed and isinstance(arena, Arena):
        report.sections.append(("folder", f"{arena.folder}: logs, and history.jsonl if it came to that"))
        for worker in arena.workers:
            report.sections.append((f"log of {worker.name}, ended with {worker.status}", worker.tail()))
    return report
