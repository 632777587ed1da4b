from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from streams.platform.off_loop import off_loop


async def test_a_step_returns_or_raises_what_it_did_and_runs_beside_the_loop() -> None:
    assert await off_loop(threading.current_thread) is not threading.current_thread()

    def fail() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        await off_loop(fail)


async def test_whoever_is_cancelled_leaves_the_step_to_itself() -> None:
    began, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def step() -> None:
        began.set()
        go_on.wait(10)
        over.set()

    waiting = asyncio.create_task(off_loop(step))
    await off_loop(began.wait)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    assert await off_loop(lambda: over.wait(10))


def test_a_step_that_hangs_does_not_keep_a_process_alive() -> None:
    program = (
        "import asyncio, time; from streams.platform.off_loop import off_loop\n"
        "async def main():\n"
        "    task = asyncio.create_task(off_loop(lambda: time.sleep(3600)))\n"
        "    await asyncio.sleep(0)\n"
        "asyncio.run(main())\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=30, check=False).returncode == 0
