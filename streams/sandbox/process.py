"""Child processes that never outlive us, and ports for them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from streams.sandbox import tether

HOST = "127.0.0.1"
"""The only address the sandbox listens on."""

_POLL = 0.02


# Keyed by process id, because a forked copy of this process has not this thread.
_STARTERS: dict[int, ThreadPoolExecutor] = {}


def _starter() -> ThreadPoolExecutor:
    """Return the thread that starts children in this process.

    The kernel kills a tethered child when the *thread* that forked it ends. A caller's thread may be
    short-lived (``asyncio.to_thread``), so all are forked by one thread that ends with the interpreter.
    """
    # In one step: two threads that ask at once must not get one each, of which one is soon forgotten.
    return _STARTERS.setdefault(os.getpid(), ThreadPoolExecutor(1, thread_name_prefix="paystream-sandbox"))


def spawn(command: Sequence[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a program that dies with this process; what it says is appended to the log file.

    It gets a session of its own: Ctrl-C in a terminal is for us, who then stop it in order.
    """
    tethered = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *command]

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                tethered, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=environment, start_new_session=True,
            )  # fmt: skip

    return _starter().submit(start).result()


async def wait_for_end(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Return whether the process has ended within this many seconds."""
    until = time.monotonic() + deadline
    while process.poll() is None:
        if time.monotonic() >= until:
            return False
        await asyncio.sleep(_POLL)
    return True


async def terminate(process: subprocess.Popen[bytes], deadline: float) -> None:
    """End a process: SIGTERM, and after this many seconds, or when cancelled meanwhile, SIGKILL."""
    try:
        if process.poll() is None:
            process.terminate()
            process.send_signal(signal.SIGCONT)  # a frozen process hears SIGTERM only when it is thawed
        await wait_for_end(process, deadline)
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process with SIGKILL, and return when it has."""
    process.kill()
    process.wait()


def freeze(process: subprocess.Popen[bytes]) -> None:
    """Stop a process from running with SIGSTOP, and return when all its threads have stopped."""
    process.send_signal(signal.SIGSTOP)
    if sys.platform == "linux":
        # The signal is delivered some time; the stop is reported when it is complete. An end counts too, or
        # this would wait for ever. WNOWAIT leaves the news for whoever waits for the process.
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


def free_ports(count: int) -> list[int]:
    """Ask the operating system for ports nobody uses. Somebody else may take them before we do."""
    with contextlib.ExitStack() as sockets:
        found = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in found]


def is_free(port: int) -> bool:
    """Return whether a server could listen on this port now."""
    with socket.socket() as probe:
        # As the JVM does: connections of the last broker there that have not timed out yet do no harm.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def is_listening(port: int) -> bool:
    """Return whether somebody accepts connections on this port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


async def wait_until_free(port: int, deadline: float) -> bool:
    """Return whether the port is free within this many seconds."""
    until = time.monotonic() + deadline
    while not is_free(port):
        if time.monotonic() >= until:
            return False
        await asyncio.sleep(_POLL)
    return True
