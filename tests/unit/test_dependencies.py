"""Imports point one way: models ◀ streams ◀ agents, and inside of streams the engine knows no payments."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator, Mapping, Set
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("streams", "agents", "models")


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@cache
def parsed(module: str) -> ast.Module:
    # A finalizer that logs a traceback parses source, too, and CPython's parser does not bear that in the middle of it.
    gc.disable()
    try:
        return ast.parse(MODULES[module].read_text("utf-8"))
    finally:
        gc.enable()


@cache
def imported(module: str, *, at_runtime_only: bool = False) -> frozenset[str]:
    """The modules of ours that a module imports, wherever in its text it does so."""
    tree = parsed(module)
    is_package = MODULES[module].name == "__init__.py"
    found = set()
    for node in _statements(tree, at_runtime_only):
        if isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, module, is_package)
            names = [f"{base}.{alias.name}" for alias in node.names]
            candidates = [name if name in MODULES else base for name in names]
        else:
            continue
        found |= {name for name in candidates if name in MODULES}
    return frozenset(found - {module})


def _statements(node: ast.AST, at_runtime_only: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if at_runtime_only and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _statements(child, at_runtime_only)


def _base(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parents = module.split(".") if is_package else module.split(".")[:-1]
    upwards = parents[: len(parents) - node.level + 1]
    return ".".join([*upwards, *filter(None, [node.module])])


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def offences(importers: tuple[str, ...], forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{module} imports {name}"
        for module in MODULES
        if within(module, *importers)
        for name in sorted(imported(module))
        if within(name, *forbidden)
    ]


def test_the_imports_are_found_at_all() -> None:
    assert "streams.delivery" in imported("agents.payments")
    assert "models.payment" in imported("agents.payments")
    assert "streams.failure.errors" in imported("streams.delivery.lane")
    assert "streams.settings" in imported("streams.failure.policy")
    assert "streams.settings" not in imported("streams.failure.policy", at_runtime_only=True)


ENGINE = ("streams.kafka", "streams.failure", "streams.dead_letters", "streams.delivery")
"""What could be another team's library."""

# Each room, and the rooms that its modules may use; `streams.app` composes the application, and may know who is in it.
MAY_USE: dict[str, set[str]] = {
    "models": set(),
    "streams": set(),
    # the engine, from what knows least to what knows most
    "streams.failure": {"streams.settings"},
    "streams.settings": {"streams.failure"},
    "streams.kafka": {"streams.failure", "streams.settings"},
    "streams.dead_letters": {"models", "streams.failure", "streams.kafka", "streams.settings"},
    "streams.delivery": {"streams.dead_letters", "streams.failure", "streams.kafka", "streams.settings"},
    # the ends
    "streams.http": {"streams.failure"},
    "streams.database": {"streams.delivery", "streams.failure", "streams.kafka", "streams.settings"},
    "streams.stores": {"models", "streams.database", "streams.failure"},
    "streams.platform": {
        "models", "streams.delivery", "streams.failure", "streams.http", "streams.kafka", "streams.settings",
    },
    "streams.notify": {
        "models", "streams.database", "streams.delivery", "streams.failure", "streams.http", "streams.settings",
        "streams.stores",
    },
    # the pipeline
    "streams.topics": {"streams.kafka", "streams.settings"},
    "streams.application": {
        "streams.database", "streams.dead_letters", "streams.delivery", "streams.failure", "streams.kafka",
        "streams.settings",
    },
    "streams.web": {"streams.application", "streams.delivery", "streams.failure"},
    "streams.app": {"streams.application", "streams.commands", "streams.failure", "streams.settings", "streams.web"},
    "agents": {
        "models", "streams.app", "streams.dead_letters", "streams.delivery", "streams.failure", "streams.kafka",
        "streams.notify", "streams.platform", "streams.settings", "streams.stores", "streams.topics",
    },
    # for people and tests
    "streams.sandbox": {"streams.failure"},
    "streams.invoices": {"models", "streams.failure", "streams.kafka", "streams.topics"},
    "streams.demo": {
        "models", "streams.database", "streams.dead_letters", "streams.failure", "streams.invoices", "streams.kafka",
        "streams.notify", "streams.platform", "streams.sandbox", "streams.settings", "streams.stores", "streams.topics",
    },
    "streams.compare": {
        "models", "streams.dead_letters", "streams.delivery", "streams.demo", "streams.failure", "streams.invoices",
        "streams.kafka", "streams.sandbox", "streams.settings", "streams.topics",
    },
    "streams.commands": {
        "models", "streams.compare", "streams.database", "streams.dead_letters", "streams.delivery", "streams.demo",
        "streams.failure", "streams.invoices", "streams.kafka", "streams.notify", "streams.platform",
        "streams.sandbox", "streams.settings", "streams.stores", "streams.topics", "streams.web",
    },
    "streams.testing": {
        "streams.dead_letters", "streams.delivery", "streams.failure", "streams.kafka", "streams.settings",
    },
}  # fmt: skip


def package_of(module: str) -> str:
    """A package of ours, or a module that lies directly in `streams`, stands for itself."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "streams" else parts[0]


@cache
def used(room: str, *, at_runtime_only: bool = False) -> frozenset[str]:
    """The rooms that a room's modules import."""
    names = {
        package_of(name)
        for module in MODULES
        if package_of(module) == room
        for name in imported(module, at_runtime_only=at_runtime_only)
    }
    # `streams` itself is imported along with each of its modules, and imports nothing.
    return frozenset(names - {"streams", room})


def test_every_room_has_a_row() -> None:
    assert {package_of(module) for module in MODULES} == set(MAY_USE)


@pytest.mark.parametrize("room", MAY_USE)
def test_a_room_uses_what_it_may_and_is_allowed_nothing_that_it_does_not_use(room: str) -> None:
    assert used(room) == MAY_USE[room]


def test_the_engine_knows_nothing_of_payments() -> None:
    # What a dead letter looks like to people is a model, too, and says nothing of payments.
    assert [each for each in offences(ENGINE, ("models",)) if not each.endswith(" models.dead_letter")] == []


def test_the_hallway_holds_a_few_files() -> None:
    assert sorted(path.name for path in (ROOT / "streams").glob("*.py")) == [
        "__init__.py", "app.py", "application.py", "testing.py", "topics.py",
    ]  # fmt: skip


def test_only_agents_and_the_composition_root_know_the_application_object() -> None:
    knowing = {module for module in MODULES if "streams.app" in imported(module)}
    assert {module for module in knowing if not within(module, "agents", "streams.commands")} == set()


def refuse_circles(graph: Mapping[str, Set[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("these import each other in a circle: " + " ▶ ".join(reversed(error.args[1])))


def test_no_packages_import_each_other_in_a_circle() -> None:
    refuse_circles({room: used(room, at_runtime_only=True) for room in MAY_USE})


def test_no_modules_import_each_other_in_a_circle() -> None:
    refuse_circles({module: imported(module) for module in MODULES})


def test_the_package_of_all_packages_imports_nothing() -> None:
    assert imported("streams") == set()
