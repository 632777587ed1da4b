"""One node of the sandbox: a Kafka broker and controller in a Java process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from streams.failure.errors import SandboxError
from streams.sandbox.process import (
    HOST,
    freeze,
    is_listening,
    kill,
    spawn,
    terminate,
    wait_for_end,
    wait_until_free,
)
from streams.sandbox.properties import as_text

START_TIMEOUT = 60.0
"""Seconds. One broker is up in 3 s; a machine with its hands full needs many times that."""
STOP_TIMEOUT = 10.0
"""Seconds. A broker stops in half a second, unless it waits for a controller that has gone."""
# Formatting costs 1 s of processor time.
_FORMAT_TIMEOUT = 60.0
# A port is free as soon as the kernel has taken the last broker's sockets down.
_PORT_TIMEOUT = 5.0
_POLL = 0.05
_LAST_WORDS_LINES = 15
_LAST_WORDS_COLUMNS = 300
# Read back this much at most: a start says 0.1 MB, a broker that has run for days much more.
_LAST_WORDS_BYTES = 1_048_576
# What does not explain an end: routine, and where in Kafka's code it happened.
_ROUTINE = re.compile(r"\S+ \[[^\]]*\] (INFO|DEBUG) |\s+at |\s+\.\.\. \d+ more")


class PortTakenError(SandboxError):
    """Between our asking for a free port and Kafka's listening there, somebody else took it."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """How to start Kafka's programs.

    Attributes:
        java: the executable.
        class_path: as Java wants it.
        flags: of the JVM, for the broker.
    """

    java: Path
    class_path: str
    flags: tuple[str, ...]


class Broker:
    """One node. It can be stopped, killed and started again, with the same ports and data.

    Arguments:
        node_id: its number in the cluster, from 1.
        port: where clients reach it, on 127.0.0.1.
        folder: for its properties, its data and its log.
        properties: Kafka's, see :func:`streams.sandbox.properties.node_properties`.
        runtime: how to start it.
    """

    def __init__(self, node_id: int, port: int, folder: Path, properties: Mapping[str, str], runtime: Runtime) -> None:
        self.node_id = node_id
        self.port = port
        self.folder = folder
        self.log = folder / "broker.log"
        self._properties = properties
        self._runtime = runtime
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self._log_offset = 0

    def __repr__(self) -> str:
        return f"<Broker {self.node_id} at {HOST}:{self.port}>"

    @property
    def running(self) -> bool:
        """Whether its process is there; a frozen one is."""
        return self._process is not None and self._process.poll() is None

    @property
    def ended_by_itself(self) -> bool:
        """Whether its process has ended without :meth:`stop` or :meth:`kill`."""
        return self._wanted and not self.running

    @property
    def pid(self) -> int:
        """Its process id.

        Raises:
            SandboxError: it is not running.
        """
        return self._live().pid

    async def format(self, cluster_id: str) -> None:
        """Prepare its storage, unless that was done before.

        Raises:
            SandboxError: Kafka would not.
        """
        if self._formatted():
            return
        arguments = ["format", "-t", cluster_id, "-c", str(self._write_properties()), "--ignore-formatted"]
        process = self._spawn("kafka.tools.StorageTool", arguments, self._runtime.flags)
        try:
            ended = await wait_for_end(process, _FORMAT_TIMEOUT)
        finally:
            kill(process)
        if not ended or process.returncode != 0:
            how = f"with status {process.returncode}" if ended else f"by not ending within {_FORMAT_TIMEOUT:.0f} s"
            raise SandboxError(f"formatting the storage of broker {self.node_id} failed {how}.{self.last_words()}")

    async def start(self) -> None:
        """Start its process, without waiting until it is ready; nothing happens if it is running.

        Raises:
            SandboxError: its port is in use.
        """
        if self.running:
            return
        if not await wait_until_free(self.port, _PORT_TIMEOUT):
            raise PortTakenError(f"port {self.port} of broker {self.node_id} is in use by another process")
        configuration = self._write_properties()
        self._process = self._spawn("kafka.Kafka", [str(configuration)], self._runtime.flags)
        self._wanted = True

    async def wait_until_ready(self, deadline: float = START_TIMEOUT, nodes: Collection[int] | None = None) -> None:
        """Wait until it answers a client, and knows that these nodes are alive.

        Arguments:
            deadline: in seconds.
            nodes: ids to wait for; only its own if not given.

        Raises:
            SandboxError: it ended, or was not ready in time; with the end of its log.
        """
        wanted = {self.node_id} if nodes is None else set(nodes)
        until = time.monotonic() + deadline
        while not wanted <= await self._known_nodes(until):
            if not self.running:
                raise self._failure("ended" + self._status() + " before it was ready")
            if time.monotonic() >= until:
                raise self._failure(f"was not ready within {deadline:.0f} s")
            await asyncio.sleep(_POLL)

    async def stop(self, deadline: float = STOP_TIMEOUT) -> None:
        """End it in order (SIGTERM), and after this many seconds with force (SIGKILL)."""
        self._wanted = False
        if self._process is not None:
            await terminate(self._process, deadline)

    def kill(self) -> None:
        """End it at once with SIGKILL; it is dead when this returns."""
        self._wanted = False
        if self._process is not None:
            kill(self._process)

    def freeze(self) -> None:
        """Stop it from running (SIGSTOP): when this returns it keeps its connections and answers nothing.

        Raises:
            SandboxError: it is not running.
        """
        freeze(self._live())

    def thaw(self) -> None:
        """Let it run again after :meth:`freeze`.

        Raises:
            SandboxError: it is not running.
        """
        self._live().send_signal(signal.SIGCONT)

    def ended(self) -> SandboxError:
        """Describe a broker that has ended by itself."""
        return self._failure("has ended by itself" + self._status())

    def last_words(self) -> str:
        """Quote the end of what it has logged since its last start without the routine; say where all is."""
        lines = self._said().decode(errors="replace").splitlines()
        telling = [line for line in lines if not _ROUTINE.match(line)]
        quote = "".join(f"\n  {line[:_LAST_WORDS_COLUMNS]}" for line in (telling or lines)[-_LAST_WORDS_LINES:])
        return (f" Its last words:{quote}" if quote else " It said nothing.") + f"\nIts whole log: {self.log}"

    def _live(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise SandboxError(f"broker {self.node_id} is not running")
        return self._process

    def _status(self) -> str:
        return "" if self._process is None else f" with status {self._process.returncode}"

    def _failure(self, what: str) -> SandboxError:
        kind = PortTakenError if b"Address already in use" in self._said() else SandboxError
        return kind(f"broker {self.node_id} at {HOST}:{self.port} {what}.{self.last_words()}")

    def _said(self) -> bytes:
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_offset, size - _LAST_WORDS_BYTES))
            return log.read()

    def _formatted(self) -> bool:
        return Path(self._properties["log.dirs"], "meta.properties").exists()

    def _write_properties(self) -> Path:
        path = self.folder / "server.properties"
        path.write_text(as_text(self._properties), encoding="utf-8")
        return path

    def _spawn(self, program: str, arguments: list[str], flags: tuple[str, ...]) -> subprocess.Popen[bytes]:
        self._log_offset = self.log.stat().st_size if self.log.exists() else 0
        # In the environment and not an argument, so that `ps` shows a line one can read. The messages of
        # the C library that Java passes on ("Address already in use") must be the ones looked for above.
        environment = {**os.environ, "CLASSPATH": self._runtime.class_path, "LC_ALL": "C"}
        return spawn([str(self._runtime.java), *flags, program, *arguments], self.log, environment)

    async def _known_nodes(self, until: float) -> set[int]:
        if not is_listening(self.port):  # the client would log an error for each try
            return set()
        # Kafka listens before it serves; the first request waits for that, so it gets all the time there is.
        patience = max(1, int((until - time.monotonic()) * 1000))
        client = AIOKafkaClient(bootstrap_servers=f"{HOST}:{self.port}", request_timeout_ms=patience)
        try:
            await client.bootstrap()
            return {node.nodeId for node in client.cluster.brokers()}
        except KafkaError:
            return set()
        finally:
            await client.close()
