"""Dead letters that a real Spring Kafka has just written: they are what was recorded, and our commands show them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import time
from datetime import datetime, timezone

import pytest
from interop.letters import KEY, LETTERS_OF, OFFSET, PARTITION, Written
from interop.recording import WRITTEN_AT_MS, in_order, load, save
from support.worker import environment

from streams.dead_letters.reading import read_dead_letter
from streams.sandbox import Cluster

_RECORDING = os.environ.get("UPDATE_GOLDEN") == "1"
_SESSION_SECONDS = 3600
"""No session of tests is longer."""
_WRITTEN_AT = datetime.fromtimestamp(WRITTEN_AT_MS / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
_COMMAND = "from streams.commands.main import main; main()"


@pytest.mark.parametrize("scenario", LETTERS_OF)
def test_spring_still_writes_what_was_recorded(written: Written, scenario: str) -> None:
    letter = written.letters[scenario]
    letter = dataclasses.replace(letter, headers=in_order(letter.headers))
    if _RECORDING:
        save(scenario, letter)
    assert load(scenario) == letter


def test_times_that_no_recording_can_keep_are_read_too(written: Written) -> None:
    twice = read_dead_letter(written.letters["twice"].headers)
    retried = read_dead_letter(written.letters["retryable"].headers)
    assert twice.last_hop is not None
    for found in (twice.last_hop.timestamp_ms, retried.retry_due_ms):
        assert found is not None
        assert abs(found / 1000 - time.time()) < _SESSION_SECONDS


def test_the_attempts_we_read_are_those_spring_made(written: Written) -> None:
    seen = [each["seen"] for each in written.said if "seen" in each]
    deliveries = [topic for topic in seen if topic != "spring.retryable-dlt"]
    assert seen.count("spring.retryable-dlt") == 1
    # Two records came before it that did not fail.
    assert read_dead_letter(written.letters["retryable"].headers).attempts == len(deliveries) - OFFSET == 3


async def test_our_command_lists_springs_letters(written: Written, kafka: Cluster) -> None:
    topics = [letter.topic for letter in written.letters.values()]
    arguments = [argument for topic in topics for argument in ("--topic", topic)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _COMMAND, "dead-letters", "list", "--json", *arguments,
        env=environment({"KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers}),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    listed = {each["topic"]: each for each in map(json.loads, said.splitlines())}
    assert sorted(listed) == sorted(topics)
    for scenario, letter in written.letters.items():
        shown = listed[letter.topic]
        assert shown["order_id"] == KEY.decode()
        if scenario != "after-ours":
            assert (shown["origin_topic"], shown["origin_partition"], shown["origin_offset"]) == (
                f"spring.{scenario}", PARTITION, OFFSET,
            )  # fmt: skip
            assert shown["origin_timestamp"] == _WRITTEN_AT
        assert shown["consumer_group"] == ("repair" if scenario.startswith("twice") else "billing")
        assert shown["exception_class"] == read_dead_letter(load(scenario).headers).cause_class
    assert listed["spring.retryable-dlt"]["attempts"] == 3
