"""What we log reads well in a worker: its handlers are mode's, and their formatters do more than Python's."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_METHODS = ("debug", "info", "warning", "error", "critical", "exception")
_PLACEHOLDER = re.compile(r"%(?!%)[^a-zA-Z]*[a-zA-Z]")

# Sets up logging as a worker does, and says each thing twice, the second time a minute later.
_WORKER = """
import logging, sys
from mode.utils.logging import setup_logging
import faust.worker  # registers a formatter of arguments
from aiokafka import TopicPartition
from streams.kafka import client_log

now = 0.0
client_log._ONCE_A_MINUTE._clock = lambda: now
client_log.quieten_clients()
setup_logging(loglevel="INFO", logfile=sys.argv[1] if len(sys.argv) > 1 else None)
log = logging.getLogger("aiokafka")


def say():
    log.error("Unable connect to node with id %s: %s", 1, "100 %s of it")
    log.error("nothing to fill in")
    log.error("a percent sign alone: 5 %")
    log.error("%(what)s by its name", {"what": "a broker"})
    log.error("Heartbeat for %s", {TopicPartition("t", 0)})
    try:
        raise ValueError("two\\nlines")
    except ValueError:
        log.exception("with a traceback: %s", "x")


for now in (0.0, 1.0, 2.0, 61.0):
    say()
"""


def _said(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _WORKER, *arguments], env={**os.environ, **environment}, cwd=ROOT,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.parametrize("place", ["pipe", "terminal", "file"])
def test_what_the_client_says_again_is_counted_in_a_workers_own_log(place: str, tmp_path: Path) -> None:
    file = tmp_path / "log"
    said = _said(str(file)) if place == "file" else _said(**({"FORCE_COLOR": "1"} if place == "terminal" else {}))
    if place == "file":
        said += file.read_text()
    assert "Logging error" not in said, said
    assert ("\x1b[" in said) == (place == "terminal")
    held_back = "(held back since the last time: 2)"
    for message in (
        "Unable connect to node with id 1: 100 %s of it",
        "nothing to fill in",
        "a percent sign alone: 5 %",
        "a broker by its name",
        "with a traceback: x",
    ):
        assert said.count(message) == 2, said
        assert said.count(f"{message} {held_back}") == 1, said
    assert said.count(held_back) == 6


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for package in ("streams", "agents", "models"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == "logger"
                    and node.func.attr in (*_METHODS, "log")
                ):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


CALLS = dict(_calls())


@pytest.mark.parametrize("place", CALLS)
def test_a_log_call_has_a_fixed_text_and_a_value_for_each_of_its_gaps(place: str) -> None:
    call = CALLS[place]
    assert isinstance(call.func, ast.Attribute)
    text, *values = call.args[1:] if call.func.attr == "log" else call.args
    if not values:
        return  # nothing is filled in
    assert isinstance(text, ast.Constant), "a text that is put together may have percent signs of its own"
    assert isinstance(text.value, str)
    # A partition unpacked is its topic and its number.
    given = sum(2 if isinstance(value, ast.Starred) else 1 for value in values)
    assert len(_PLACEHOLDER.findall(text.value)) == given
    assert not any(isinstance(value, ast.Dict | ast.Set | ast.List) for value in values), "mode makes tables of these"
