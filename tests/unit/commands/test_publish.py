from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiokafka.partitioner import DefaultPartitioner, murmur2
from click.testing import CliRunner, Result

from streams.commands.publish import publish
from streams.failure.errors import ExitStatus

EXAMPLE = Path(__file__).parents[3] / "examples" / "online_retail_2010-12-01.csv"


def run(*arguments: str | Path, bootstrap: str = "127.0.0.1:1") -> Result:
    return CliRunner().invoke(
        publish, [str(part) for part in arguments], env={"PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": bootstrap}
    )


def documents(text: str) -> list[dict[str, object]]:
    found, decoder = [], json.JSONDecoder()
    while text.startswith("{"):
        body, end = decoder.raw_decode(text)
        found.append(body)
        text = text[end:].lstrip()
    return found


def test_a_dry_run_shows_the_first_three_events_and_the_counts_without_a_broker() -> None:
    result = run(EXAMPLE, "--dry-run")
    assert result.exit_code == ExitStatus.OK
    assert [body["orderId"] for body in documents(result.stdout)] == ["536365", "536366", "536367"]
    assert result.stdout.splitlines()[-1] == (
        "would publish 137 payments to payment.completed and 6 cancellations to payment.cancelled; "
        "left out: 0 that cannot be read"
    )
    assert result.stderr == ""


def test_a_limit_takes_the_first_events_only() -> None:
    result = run(EXAMPLE, "--dry-run", "--limit", "2", "--topic", "trial")
    assert len(documents(result.stdout)) == 2
    assert "would publish 2 payments to trial;" in result.stdout


def test_bad_input_stops_with_one_line_and_the_status_of_bad_input(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(EXAMPLE.read_text().replace("2.55", "x", 1))
    result = run(EXAMPLE, bad, "--dry-run")
    assert result.exit_code == ExitStatus.BAD_INPUT
    assert result.stdout == ""
    assert result.stderr.startswith(f"paystream: {bad}:2: column 'UnitPrice': expected a number")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--skip-unreadable", "--skip-invalid"])  # the second is its former name
def test_skipping_lists_what_was_left_out_and_counts_it(tmp_path: Path, option: str) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(EXAMPLE.read_text().replace("2.55", "x", 1))
    result = run(bad, "--dry-run", option)
    assert result.exit_code == ExitStatus.OK
    assert result.stderr.startswith(f"left out: {bad}:2: column 'UnitPrice'")
    assert "would publish 136 payments to payment.completed and 6 cancellations" in result.stdout
    assert "left out: 1 that cannot be read" in result.stdout


@pytest.mark.parametrize("option", [[], ["--skip-unreadable"]])
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("day.csv", "", "the file is empty"),
        ("day.csv", EXAMPLE.read_text().partition("\n")[0] + "\n", "there are no orders in it"),
        ("day.jsonl", "", "the file is empty"),
        ("day.jsonl", "\n \n", "there are no orders in it"),
    ],
)
def test_a_file_without_orders_is_bad_input_and_nothing_is_published(
    tmp_path: Path, name: str, content: str, reason: str, option: list[str]
) -> None:
    path = tmp_path / name
    path.write_text(content)
    result = run(path, *option, "--dry-run")
    assert (result.exit_code, result.stdout) == (ExitStatus.BAD_INPUT, "")
    assert f"{path}: {reason}\n" in result.stderr


@pytest.mark.parametrize(("file", "reason"), [("-", "standard input is not read"), ("day.txt", "unknown kind of file")])
def test_what_is_no_file_of_a_kind_that_is_known_is_refused_with_the_kinds(file: str, reason: str) -> None:
    result = run(file, "--dry-run")
    assert result.exit_code == ExitStatus.BAD_INPUT
    assert result.stderr == (
        f"paystream: {file}: {reason}: expected a file whose name ends in .csv, .csv.xz, .jsonl or .jsonl.xz\n"
    )


def test_cancellations_can_be_left_out_or_sent_elsewhere() -> None:
    only = run(EXAMPLE, "--dry-run", "--payments-only")
    assert only.stdout.endswith(
        "would publish 137 payments to payment.completed; left out: 6 cancellations, 0 that cannot be read\n"
    )
    elsewhere = run(EXAMPLE, "--dry-run", "--cancelled-topic", "trial")
    assert "6 cancellations to trial" in elsewhere.stdout


def test_when_nothing_answers_one_line_says_what_was_tried() -> None:
    result = run(EXAMPLE, bootstrap="127.0.0.1:1")
    assert result.exit_code == ExitStatus.UNREACHABLE
    assert "127.0.0.1:1" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["--rate", "0"], ["--rate", "-1"], ["--limit", "0"]])
def test_senseless_arguments_are_refused_before_anything_is_read(arguments: list[str]) -> None:
    files = [EXAMPLE] if arguments else []
    assert run(*files, *arguments).exit_code == 2


@pytest.mark.parametrize(
    ("key", "murmur2_in_java"),
    # From Kafka's own UtilsTest.testMurmur2.
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"abc", 479470107),
    ],
)
def test_keys_go_to_the_partitions_that_java_producers_choose(key: bytes, murmur2_in_java: int) -> None:
    assert murmur2(key) & 0xFFFFFFFF == murmur2_in_java & 0xFFFFFFFF
    partitions = list(range(12))
    assert DefaultPartitioner()(key, partitions, partitions) == (murmur2_in_java & 0x7FFFFFFF) % 12
