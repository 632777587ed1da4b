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


@pytest.mark.parametrize(
    ("importers", "forbidden"),
    [
        (("models",), ("streams", "agents")),
        (("streams",), ("agents",)),
        (
            ("streams.delivery",),
            ("models", "streams.topics", "streams.app", "streams.application", "streams.commands"),
        ),
        (
            ("streams.failure",),
            ("models", "streams.topics", "streams.app", "streams.application", "streams.commands"),
        ),
        (("streams.delivery", "streams.failure"), ("streams.sandbox", "streams.invoices", "streams.testing")),
        (("streams.failure",), ("streams.delivery",)),
        (("streams.sandbox",), ("models", "streams.delivery", "streams.app", "streams.application")),
        (("streams.settings", "streams.topics", "streams.kafka.envelope"), ("streams.delivery", "streams.app")),
        (("streams", "agents"), ("streams.testing",)),
    ],
    ids=lambda packages: "+".join(packages),
)
def test_no_import_points_the_wrong_way(importers: tuple[str, ...], forbidden: tuple[str, ...]) -> None:
    assert offences(importers, forbidden) == []


def test_only_agents_and_the_composition_root_know_the_application_object() -> None:
    knowing = {module for module in MODULES if "streams.app" in imported(module)}
    assert {module for module in knowing if not within(module, "agents", "streams.commands")} == set()


def refuse_circles(graph: Mapping[str, Set[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("these import each other in a circle: " + " ▶ ".join(reversed(error.args[1])))


def package_of(module: str) -> str:
    """A package of ours, or a module that lies directly in `streams`, stands for itself."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "streams" else parts[0]


def test_no_packages_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        # `streams` itself is imported along with each of its modules, and imports nothing.
        targets = {package_of(name) for name in imported(module, at_runtime_only=True)} - {"streams"}
        graph.setdefault(package_of(module), set()).update(targets - {package_of(module)})
    refuse_circles(graph)


def test_no_modules_import_each_other_in_a_circle() -> None:
    refuse_circles({module: imported(module, at_runtime_only=True) for module in MODULES})


def test_the_package_of_all_packages_imports_nothing() -> None:
    assert imported("streams") == set()
