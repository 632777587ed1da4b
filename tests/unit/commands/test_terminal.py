"""Whatever somebody's text holds and whatever the terminal can show, a command prints it, if need be as an escape."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from support.databases import opened, upgraded
from support.placed import placed
from support.requests import REQUEST

from models.analytics import SaleFact, SaleLine
from models.inventory import StockLine, StockMovement
from streams.commands.analytics import analytics
from streams.commands.command import asynchronous
from streams.commands.dead_letters import Listing, dead_letters, print_listing
from streams.commands.inventory import inventory
from streams.commands.notifications import notifications
from streams.commands.publish import publish
from streams.commands.register import register_commands
from streams.commands.terminal import escape_what_cannot_be_written
from streams.sandbox.process import free_ports
from streams.settings import settings
from streams.stores.customer import Channel
from streams.stores.notifications import claim
from streams.stores.sales import SalesEffects
from streams.stores.stock import StockEffects
from streams.testing import record

NARROW = ("latin-1", "ascii", "cp1252")
# What Latin-1 has, what it has not, what a terminal would obey, and a character beyond the basic plane.
TEXT = "Café 한국 \x9b2J \N{PILE OF POO}"
NOW = datetime(2026, 1, 1, 10, tzinfo=timezone.utc)


# -- the mechanism -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "errors", "written_as"),
    [
        ("latin-1", "strict", b"Caf\xe9 \\ud55c\\ud83d\n"),
        ("ascii", "strict", b"Caf\\xe9 \\ud55c\\ud83d\n"),
        ("utf-8", "strict", "Café 한".encode() + b"\\ud83d\n"),
        ("utf-8", "surrogateescape", "Café 한".encode() + b"\\ud83d\n"),
    ],
)
@pytest.mark.parametrize("by", ["click", "python"])
def test_what_an_encoding_does_not_have_is_escaped(
    monkeypatch: pytest.MonkeyPatch, encoding: str, errors: str, written_as: bytes, by: str
) -> None:
    raw = io.BytesIO()
    wrapper = io.TextIOWrapper(raw, encoding=encoding, errors=errors, newline="\n", write_through=True)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", wrapper)
        escape_what_cannot_be_written()
        escape_what_cannot_be_written()  # as the program and then the command do
        (click.echo if by == "click" else print)("Café 한\ud83d")
    assert raw.getvalue() == written_as
    wrapper.detach()


def commands(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    for name, each in group.commands.items():
        if isinstance(each, click.Group):
            yield from ((f"{name} {below}", command) for below, command in commands(each))
        else:
            yield name, each


def test_no_command_of_ours_can_be_without_it() -> None:
    from faust.cli.base import cli

    register_commands()
    ours = {
        name: each
        for name, each in commands(cli)
        if each.callback is not None and each.callback.__module__.startswith("streams.")
    }
    assert len(ours) > 20
    # The wrapper's code, and that one alone, refers to the function.
    wrapper = asynchronous(_nothing).__code__  # type: ignore[attr-defined]
    without = {name for name, each in ours.items() if getattr(each.callback, "__code__", None) is not wrapper}
    assert without == {"notifications secret"}, "which prints nobody's text"


async def _nothing() -> None:
    """What a command may be."""


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (inventory, ["show", "\udcff"]),
        (dead_letters, ["list", "--topic", "\udcff"]),
        (dead_letters, ["list", "--reason", "\udcff"]),
        (notifications, ["show", "\udcff"]),
    ],
)
def test_an_argument_that_is_no_text_is_refused_as_one(command: click.Command, arguments: list[str]) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert "its bytes are no text in this terminal's encoding" in result.stderr


def test_a_file_may_have_any_name() -> None:
    result = CliRunner(charset="latin-1").invoke(publish, ["/nowhere/\udcff한.jsonl"])
    assert result.exit_code == 65
    assert result.stderr == "paystream: /nowhere/\\udcff\\ud55c.jsonl: cannot be read: No such file or directory\n"


# -- commands that print somebody's text ---------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a database in which article, country, order and request have the text in their names."""
    url = f"sqlite:///{tmp_path_factory.mktemp('shop') / 'shop.db'}"
    one = Decimal("1.00")
    fact = SaleFact("sale", "p:analytics", TEXT, NOW, TEXT, "GBP", one, 1, (SaleLine(TEXT, 1, one),))

    async def fill() -> None:
        await upgraded(url)
        async with opened(url) as database:
            async with database.transaction() as connection:
                await StockEffects().apply(connection, placed([StockMovement("p:i", TEXT, NOW, (StockLine(TEXT, 3),))]))
                await SalesEffects().apply(connection, placed([fact]))
            request = replace(REQUEST, request_id=f"{TEXT}:order-notification", order_id=TEXT)
            await claim(database, request, Channel.EMAIL)

    asyncio.run(fill())
    return url


@pytest.mark.parametrize("encoding", [*NARROW, "utf-8"])
@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (inventory, ["show"]),
        (inventory, ["show", TEXT]),
        (inventory, ["show", "--owed"]),
        (analytics, ["report", "--by", "country", "--by", "sku"]),
        (analytics, ["report", "--by", "country", "--format", "csv"]),
        (notifications, ["show", TEXT]),
    ],
    ids=lambda each: " ".join(each)[:40] if isinstance(each, list) else each.name,
)
def test_what_is_in_the_database_is_shown_on_any_terminal(
    shop: str, command: click.Command, arguments: list[str], encoding: str
) -> None:
    settings.cache_clear()
    result = run(command, arguments, encoding, PAYSTREAM_DATABASE__URL=shop)
    settings.cache_clear()
    assert (result.exit_code, result.exception) == (0, None)
    assert ("한국" if encoding == "utf-8" else "\\ud55c\\uad6d") in result.stdout
    assert "Caf\\xe9" in result.stdout if encoding == "ascii" else "Café" in result.stdout


@pytest.mark.parametrize("encoding", [*NARROW, "utf-8"])
def test_a_dry_run_shows_any_event_on_any_terminal(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "odd.jsonl"
    file.write_text(json.dumps({"orderId": TEXT, "half": "\ud83d"}) + "\n")
    result = run(publish, [str(file), "--dry-run"], encoding)
    assert result.exit_code == 0
    assert "\\ud83d" in result.stdout
    assert "\x9b" not in result.stdout, "a terminal obeys it"
    assert ("한국" if encoding == "utf-8" else "\\ud55c\\uad6d") in result.stdout


@pytest.mark.parametrize("encoding", [*NARROW, "utf-8"])
def test_dead_letters_are_listed_on_any_terminal(encoding: str) -> None:
    @click.command()
    @asynchronous
    async def listed() -> None:
        from streams.commands.dead_letters import _console

        listing = Listing(limit=None)
        listing.add(record(b"", key=TEXT.encode(), headers=[("x-error-reason", TEXT.encode())]))
        print_listing(listing, _console())

    result = run(listed, [], encoding)
    assert (result.exit_code, result.exception) == (0, None)
    assert ("한국" if encoding == "utf-8" else "\\ud55c\\uad6d") in result.stdout


def run(command: click.Command, arguments: list[str], encoding: str, **environment: str) -> Result:
    return CliRunner(charset=encoding).invoke(command, arguments, env={"COLUMNS": "300", **environment})


@pytest.mark.parametrize(
    "environment", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "ascii"}]
)
def test_the_program_itself_prints_half_a_character(tmp_path: Path, environment: dict[str, str]) -> None:
    file = tmp_path / "odd.jsonl"
    file.write_text(json.dumps({"orderId": "o-1", "lines": [{"name": "\ud83d 한"}]}) + "\n")
    program = [str(Path(sys.executable).with_name("paystream")), "publish", str(file), "--dry-run"]
    done = subprocess.run(program, capture_output=True, timeout=60, env={**os.environ, **environment}, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b'"name": "\\ud83d ' in done.stdout
    assert "한".encode() in done.stdout if "LC_ALL" in environment else b"\\ud55c" in done.stdout


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_worker_starts_on_any_terminal_and_shows_its_banner(tmp_path: Path, encoding: str) -> None:
    program = [sys.executable, "-m", "faust", "-A", "streams.app", "worker", "--web-port", str(*free_ports(1))]
    environment = {
        **os.environ, "PYTHONIOENCODING": encoding, "PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "PAYSTREAM_AGENTS": "agents.payments",
    }  # fmt: skip
    done = subprocess.run(program, capture_output=True, timeout=120, env=environment, cwd=tmp_path)
    assert done.returncode == 69, done.stderr
    assert b"\\u2020" in done.stdout, "its last letter"
    assert b"Traceback" not in done.stderr
