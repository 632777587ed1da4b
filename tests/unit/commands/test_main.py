"""The command line as a user calls it: Faust's, made ours in a process of its own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from itertools import dropwhile, takewhile

import click
import pytest

from streams.failure.errors import ExitStatus
from streams.sandbox.process import free_ports
from streams.settings import PREFIX

PROGRAM = [sys.executable, "-c", "from streams.commands.main import main; main()"]


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return subprocess.run(
        [*PROGRAM, *arguments], env={**inherited, **settings}, capture_output=True, text=True, timeout=60
    )


def words(help_text: str) -> str:
    """Return a help text as one line, however it was folded."""
    return " ".join(help_text.split())


# -- Faust's command line ------------------------------------------------------------------------------


def test_the_version_is_the_packages_with_fausts_beside_it() -> None:
    said = run("--version").stdout
    assert re.fullmatch(rf"paystream {re.escape(version('paystream'))}, on Faust \d+\.\d+\.\d+\n", said)


@pytest.mark.parametrize("option", [("-A", "foo"), ("--app", "foo"), ("--app=foo",)], ids=" ".join)
def test_another_application_is_refused_by_its_name(option: tuple[str, ...]) -> None:
    refused = run(*option, "worker")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.splitlines()[-1] == (
        "Error: this runs streams.app alone: for another application, use 'faust -A foo'"
    )
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("command", [("database", "check"), ("topics", "check"), ("worker",)], ids=" ".join)
def test_what_is_wrong_for_every_command_is_said_by_each_alike(command: tuple[str, ...]) -> None:
    refused = run(*command, PAYSTREAM_DATABASE__URL="mysql://shop:secret@host/shop")
    assert (refused.returncode, refused.stdout) == (78, "")
    assert refused.stderr.startswith("paystream: PAYSTREAM_DATABASE__URL must be")
    assert len(refused.stderr.splitlines()) == 1
    assert "secret" not in refused.stderr


def test_the_help_offers_neither_another_application_nor_a_completion_that_is_not_there() -> None:
    shown = run("--help").stdout
    assert "worker" in shown
    assert "--app" not in shown
    assert "completion" not in shown


def test_completion_is_no_command() -> None:
    refused = run("completion")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == "Error: No such command 'completion'."


# -- the worker ----------------------------------------------------------------------------------------


def test_the_workers_help_says_what_it_runs_where_its_pages_are_and_how_it_ends() -> None:
    shown = words(run("worker", "--help").stdout)
    for text in (
        "PAYSTREAM_AGENTS",
        "127.0.0.1:6066, for this machine alone",
        "SIGTERM has a worker finish the batch in hand",
        'docs/operations.md under "Exit statuses"',
        "Examples: paystream worker -l info",
    ):
        assert text in shown


def test_a_worker_without_a_terminal_writes_nothing_that_only_a_terminal_understands() -> None:
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    worker = run(
        "worker", "-p", str(free_ports(1)[0]),
        PAYSTREAM_AGENTS="agents.dead_letters", PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS=nobody,
    )  # fmt: skip
    assert worker.returncode == ExitStatus.UNREACHABLE
    assert nobody in worker.stdout
    assert "no Kafka broker answers" in worker.stderr
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", worker.stdout + worker.stderr)


# -- examples in the help ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def commands() -> click.Group:
    from faust.cli.faust import cli

    from streams.commands.register import register_commands

    register_commands()
    return cli


def resolved(commands: click.Group, arguments: list[str]) -> tuple[click.Command, list[str]]:
    command: click.Command = commands
    while isinstance(command, click.Group) and arguments:
        command, arguments = command.commands[arguments[0]], arguments[1:]
    return command, arguments


def examples_in(command: click.Command) -> Iterator[list[str]]:
    for line in (command.help or "").splitlines():
        if re.match(r" +(PAYSTREAM_\w+=\S+ )*paystream ", line):
            called = dropwhile(lambda word: word != "paystream", shlex.split(line, comments=True))
            yield list(takewhile(lambda word: word not in ("|", ">", "&&"), called))[1:]


@pytest.mark.parametrize(
    "name",
    ["inventory load", "inventory show", "lanes list", "lanes resume", "topics apply", "analytics report"],
)
def test_the_help_of_a_command_shows_how_it_is_called(commands: click.Group, name: str) -> None:
    command, _ = resolved(commands, name.split())
    calls = [" ".join(each) for each in examples_in(command)]
    assert any(call.startswith(name) for call in calls)


def test_every_example_in_a_help_is_a_call_that_is_understood(commands: click.Group) -> None:
    waiting: list[click.Command] = [
        command
        for command in commands.commands.values()
        if (command.callback or print).__module__.startswith("streams.")
    ]
    seen = 0
    while waiting:
        command = waiting.pop()
        if isinstance(command, click.Group):
            waiting += command.commands.values()
        for arguments in examples_in(command):
            called, rest = resolved(commands, arguments)
            called.make_context(called.name, rest).close()
            seen += 1
    assert seen > 20


def test_the_help_of_a_report_says_that_the_last_day_is_not_in_it_and_what_parquet_needs(commands: click.Group) -> None:
    command, _ = resolved(commands, ["analytics", "report"])
    shown = words(command.help or "")
    assert "The day given as --to is not in the report" in shown
    assert "Parquet is no text, and needs --output" in shown
