"""A record that always fails is delivered as often by us as by Spring, and after the same pauses."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from interop.witness import Witness
from support.kafka import create_topic, produce, read_topic, wait_until_consumed
from support.payments import Raw
from support.worker import Crew

from streams.sandbox import Cluster

# So many records fail one after the other in one partition; the witness expects as many.
_RECORDS: Final = 3
# Both measure with clocks that may differ from the sleeper's by a millisecond.
_EARLY_MS: Final = 2.0
# Spring sleeps in steps of 10 ms and then fetches the record anew; we hand it to the agent again. Of three times the
# shortest is compared, because a machine with its hands full makes any one of them late.
_LATE_MS: Final = 75.0

Pauses = list[list[float]]
"""Milliseconds between the deliveries of each record."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule in Spring's words and in ours, and the pauses it means, in milliseconds."""

    spring: str
    ours: Mapping[str, str]
    pauses: tuple[int, ...]


def _exponential(**more: str) -> dict[str, str]:
    return {
        "FAILURE__BACKOFF": "exponential", "FAILURE__INITIAL_INTERVAL": "0.1", "FAILURE__MULTIPLIER": "2",
        "FAILURE__MAX_INTERVAL": "0.4", "FAILURE__JITTER": "0", **more,
    }  # fmt: skip


_RULES: Final = {
    "fixed": Rule(
        "fixed:200:3",
        {"FAILURE__BACKOFF": "fixed", "FAILURE__INITIAL_INTERVAL": "0.2", "FAILURE__MAX_RETRIES": "3"},
        (200, 200, 200),
    ),
    "at-once": Rule(
        "fixed:0:2",
        {"FAILURE__BACKOFF": "fixed", "FAILURE__INITIAL_INTERVAL": "0", "FAILURE__MAX_RETRIES": "2"},
        (0, 0),
    ),
    "exponential": Rule("exponential:100:2:400:4:-", _exponential(FAILURE__MAX_RETRIES="4"), (100, 200, 400, 400)),
    # 100 + 200 + 400 is more than 600, and no longer retried.
    "elapsed": Rule(
        "exponential:100:2:400:-:600",
        _exponential(FAILURE__MAX_RETRIES="99", FAILURE__MAX_ELAPSED="0.6"),
        (100, 200, 400),
    ),
}


@dataclass(frozen=True, slots=True)
class Observed:
    """The pauses that were seen, by rule, and how many attempts our dead letters speak of."""

    springs: Mapping[str, Pauses]
    ours: Mapping[str, Pauses]
    attempts: Mapping[str, list[bytes]]


@pytest.fixture(scope="module")
def observed(witness: Witness, kafka: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """All rules side by side, first by Spring and then by workers of ours: most of it is waiting."""
    folder = tmp_path_factory.mktemp("back-off")
    crew = Crew(kafka.bootstrap_servers, f"back-off-{uuid.uuid4().hex[:8]}", folder)
    try:
        yield asyncio.run(_observe(witness, crew, folder))
    finally:
        crew.dismiss()
        for worker in crew.workers:
            print(worker.tail())  # shown where this failed


async def _observe(witness: Witness, crew: Crew, folder: Path) -> Observed:
    await asyncio.gather(*(_prepare(crew.servers, name) for name in _RULES))
    # Spring first: workers that start keep both cores busy for seconds, and pauses are being measured.
    springs = await witness.run(
        "back-off", crew.servers, *(f"{name}={_topic(name)}={rule.spring}" for name, rule in _RULES.items())
    )
    for name, rule in _RULES.items():
        _hire(crew, name, rule, folder)
    ours: dict[str, Pauses] = {}
    attempts = {}
    for name in _RULES:
        await wait_until_consumed(crew.servers, f"{crew.app_id}.{name}.unwilling", _topic(name))
        ours[name] = _pauses(map(json.loads, (folder / f"{name}.jsonl").read_text().splitlines()))
        letters = await read_topic(crew.servers, f"{_topic(name)}.DLT")
        attempts[name] = [dict(letter.headers)["x-attempts"] for letter in letters]
    by_rule = {name: _pauses(each for each in springs if each["rule"] == name) for name in _RULES}
    return Observed(by_rule, ours, attempts)


def _topic(name: str) -> str:
    return f"back-off.{name}"


async def _prepare(servers: str, name: str) -> None:
    await create_topic(servers, f"{_topic(name)}.DLT", 1)
    await create_topic(servers, _topic(name), 1)
    await produce(servers, _topic(name), [Raw(0, b"o%d" % each, b"{}") for each in range(_RECORDS)])


def _hire(crew: Crew, name: str, rule: Rule, folder: Path) -> None:
    """Start a worker in a group of its own that applies the rule."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("UNWILLING_TOPIC", _topic(name))
        environment.setenv("UNWILLING_LOG", str(folder / f"{name}.jsonl"))
        options = {"APP_ID": f"{crew.app_id}.{name}", **rule.ours}
        crew.hire(name, agents=["tests.interop.modules.unwilling"], **options).start()


def _pauses(deliveries: Iterable[Mapping[str, Any]]) -> Pauses:
    times: dict[int, list[float]] = defaultdict(list)
    for delivery in deliveries:
        times[delivery["offset"]].append(delivery["milliseconds"])
    return [[after - before for before, after in pairwise(times[offset])] for offset in sorted(times)]


# -- what was seen -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", _RULES)
def test_we_make_as_many_attempts_as_spring_and_say_so(observed: Observed, name: str) -> None:
    retries = len(_RULES[name].pauses)
    assert [len(each) for each in observed.springs[name]] == [retries] * _RECORDS
    assert [len(each) for each in observed.ours[name]] == [retries] * _RECORDS
    assert observed.attempts[name] == [b"%d" % (retries + 1)] * _RECORDS


@pytest.mark.parametrize("name", _RULES)
def test_no_pause_is_shorter_than_the_rule_says(observed: Observed, name: str) -> None:
    for pauses in (*observed.springs[name], *observed.ours[name]):
        for pause, least in zip(pauses, _RULES[name].pauses, strict=True):
            assert pause >= least - _EARLY_MS, f"{pauses} instead of {_RULES[name].pauses}"


@pytest.mark.parametrize("name", _RULES)
def test_our_pauses_are_springs(observed: Observed, name: str) -> None:
    springs, ours = _shortest(observed.springs[name]), _shortest(observed.ours[name])
    for spring, our, meant in zip(springs, ours, _RULES[name].pauses, strict=True):
        assert spring <= meant + _LATE_MS, f"Spring: {springs} instead of {_RULES[name].pauses}"
        assert our <= meant + _LATE_MS, f"we: {ours} instead of {_RULES[name].pauses}"


def _shortest(pauses: Pauses) -> list[float]:
    """Return each pause as the record saw it that was delivered again soonest."""
    return [min(each) for each in zip(*pauses, strict=True)]
