from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from streams.commands.command import extra, shown_on
from streams.demo.screen import Screen
from streams.failure.errors import ExitStatus, SetupError

each_with_a_screen = pytest.mark.parametrize("name", ["demo", "compare"])


# -- what comes with an extra --------------------------------------------------------------------------


@each_with_a_screen
def test_without_the_extra_it_says_in_one_line_how_to_install_it(name: str) -> None:
    script = (
        "import sys; sys.modules['aiosmtpd'] = None\n"  # as if it was not installed
        f"from streams.commands.{name} import {name}; {name}()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (ExitStatus.CONFIGURATION, "")
    assert done.stderr == "paystream: this needs aiosmtpd: pip install '.[sandbox]' in the checkout of paystream\n"


def test_a_module_of_ours_that_cannot_be_imported_is_a_defect_and_no_extra() -> None:
    with pytest.raises(ImportError, match="nothing_of_this_name"), extra("parquet"):
        from streams.failure.errors import nothing_of_this_name  # type: ignore[attr-defined] # noqa: F401


def test_an_import_that_fails_for_another_reason_says_what_it_was() -> None:
    with pytest.raises(SetupError, match=r"this needs libarrow\.so is damaged: pip install"), extra("parquet"):
        raise ImportError("libarrow.so is damaged")


# -- the end before the end ----------------------------------------------------------------------------


@each_with_a_screen
def test_where_nobody_reads_it_ends_in_silence_and_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    script = f"from streams.commands.{name} import {name}; {name}()"
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(tmp_path)}, stdin=subprocess.DEVNULL,
            stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (ExitStatus.FAILED, "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_what_is_shown_after_it_has_tidied_up(number: signal.Signals) -> None:
    tidied = False

    async def work() -> None:
        nonlocal tidied
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            tidied = True

    with pytest.raises(click.exceptions.Exit) as ended:
        await shown_on(Screen(), work())
    assert (ended.value.exit_code, tidied) == (130, True)


async def test_work_that_comes_to_its_end_gives_its_result() -> None:
    async def work() -> str:
        return "done"

    assert await shown_on(Screen(), work()) == "done"
