"""A whole Kafka cluster on this machine, of one node or several."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TextIO

from streams.failure.errors import SandboxError
from streams.sandbox.broker import START_TIMEOUT, STOP_TIMEOUT, Broker, PortTakenError, Runtime
from streams.sandbox.install import install
from streams.sandbox.java import find_java
from streams.sandbox.process import HOST, free_ports, is_free
from streams.sandbox.properties import Node, node_properties
from streams.sandbox.waiting import in_daemon_thread, side_by_side

# Taken between our asking for a free port and Kafka's listening: rare, and rarer twice in a row.
_PORT_ATTEMPTS = 3
_POLL = 0.1
# The last of several controllers waits 5 s for another to take over. Where the data goes, so may it.
_THROW_AWAY_TIMEOUT = 1.0


class Cluster:
    """An embedded Apache Kafka in KRaft mode; every node is a broker and a controller.

    Nothing of it belongs to an event loop: it can be started in one and stopped in another. Its processes
    die with this one, even when this one is killed.

    Arguments:
        brokers: how many nodes. With three, one can be lost: see ``node_properties``.
        port: of the first broker, the others follow; 0 lets the operating system choose.
        data: folder that keeps what was written for the next start; if None, a temporary one.
        heap_mb: of each JVM, in MiB; if None, 512 for one node, 400 for several, 1024 for a benchmark.
        properties: Kafka properties that differ from ours.
        benchmark: let the JVM compile as in production, instead of starting quickly.
    """

    def __init__(
        self,
        brokers: int = 1,
        port: int = 0,
        data: Path | str | None = None,
        heap_mb: int | None = None,
        properties: Mapping[str, str] | None = None,
        benchmark: bool = False,
    ) -> None:
        if brokers < 1:
            raise SandboxError(f"a cluster of {brokers} brokers? It takes one at least")
        if port and not 1 <= port <= 65_535 - brokers + 1:
            raise SandboxError(f"{brokers} ports from {port} on do not lie between 1 and 65535")
        self.brokers: list[Broker] = []
        self._count = brokers
        self._port = port
        self._data = None if data is None else Path(data).absolute()
        if "," in str(self._data or ""):
            raise SandboxError(
                f"{self._data} has a comma in it, where Kafka would end the one folder and begin the next"
            )
        self._properties = dict(properties or {})
        self._flags = _jvm_flags(heap_mb or _heap_mb(brokers, benchmark), benchmark)
        self._folder: Path | None = None
        self._lock: TextIO | None = None

    async def __aenter__(self) -> Cluster:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect: ``127.0.0.1:port``, several separated by commas."""
        return ",".join(f"{HOST}:{broker.port}" for broker in self.brokers)

    @property
    def folder(self) -> Path | None:
        """Where its data and logs are while it runs."""
        return self._folder

    async def start(self, deadline: float = START_TIMEOUT) -> None:
        """Install Kafka if need be, start all nodes and wait until each knows all others.

        Arguments:
            deadline: seconds for Kafka to be ready; installing has its own.

        Raises:
            SandboxError: it could not be installed or started, and why. The logs are kept then.
        """
        if self._folder is not None:
            raise SandboxError("this cluster has been started already")
        class_path = await in_daemon_thread(install)
        runtime = Runtime(await in_daemon_thread(find_java), class_path, self._flags)
        try:
            cluster_id = self._open_folder()
            for attempt in range(1, _PORT_ATTEMPTS + 1):
                try:
                    await self._start_nodes(runtime, cluster_id, deadline)
                    return
                except PortTakenError:
                    self._kill_all()
                    if attempt == _PORT_ATTEMPTS:
                        raise
        except BaseException as error:
            self._kill_all()
            # Cancelled: then there is nothing that the logs could explain.
            self._close_folder(keep_logs=isinstance(error, Exception))
            raise

    async def stop(self, deadline: float | None = None) -> None:
        """Stop all nodes: SIGTERM, then SIGKILL for who is still there; nothing happens if none runs.

        Where the data is temporary its folder goes too, except for the logs if a broker had ended by itself.

        Arguments:
            deadline: seconds between the two; if None, 10 where data is kept and 1 where it is removed.
        """
        if deadline is None:
            deadline = STOP_TIMEOUT if self._data else _THROW_AWAY_TIMEOUT
        accident = any(broker.ended_by_itself for broker in self.brokers)
        try:
            await side_by_side(broker.stop(deadline) for broker in self.brokers)
        finally:
            self._kill_all()
            self._close_folder(keep_logs=accident)

    async def wait_for_a_death(self) -> SandboxError:
        """Wait until a broker ends that nobody has stopped or killed through its object; say which."""
        while True:
            for broker in self.brokers:
                if broker.ended_by_itself:
                    return broker.ended()
            await asyncio.sleep(_POLL)

    async def _start_nodes(self, runtime: Runtime, cluster_id: str, deadline: float) -> None:
        self.brokers = self._plan(runtime)
        until = time.monotonic() + deadline
        await side_by_side(broker.format(cluster_id) for broker in self.brokers)
        await side_by_side(broker.start() for broker in self.brokers)
        everyone = [broker.node_id for broker in self.brokers]
        await side_by_side(
            broker.wait_until_ready(max(1.0, until - time.monotonic()), everyone) for broker in self.brokers
        )

    def _plan(self, runtime: Runtime) -> list[Broker]:
        """Choose ports. Kafka stores none, so they may differ from the last start's."""
        ports = free_ports(2 * self._count)
        nodes = []
        for index in range(self._count):
            port = self._port + index if self._port else ports[2 * index]
            if self._port and not is_free(port):
                raise SandboxError(
                    f"port {port} is in use by another process: choose another with --port, "
                    "or leave --port out to get a free one"
                )
            nodes.append(Node(index + 1, port, ports[2 * index + 1]))
        brokers = []
        for node in nodes:
            folder = self._opened() / f"broker-{node.id}"
            folder.mkdir(exist_ok=True)
            properties = node_properties(node, nodes, folder / "data", self._properties)
            brokers.append(Broker(node.id, node.port, folder, properties, runtime))
        return brokers

    def _open_folder(self) -> str:
        """Make or find the folder, be alone in it, and return the cluster id its storage has."""
        if self._data is None:
            self._folder = Path(tempfile.mkdtemp(prefix="paystream-kafka-"))
            return _new_cluster_id()
        try:
            self._data.mkdir(parents=True, exist_ok=True)
            description = self._data / "cluster.json"
            if not description.exists() and any(self._data.iterdir()):
                raise SandboxError(f"{self._data} holds something else: name an empty or a new folder")
            self._lock = description.open("a+", encoding="utf-8")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SandboxError(f"{self._data} is in use by another sandbox: stop it, or name another folder") from None
        except OSError as error:
            raise SandboxError(f"cannot keep data in {self._data}: {error}") from error
        self._folder = self._data
        return self._describe(self._lock)

    def _describe(self, file: TextIO) -> str:
        """Read what the folder was made for; write it if it is new."""
        file.seek(0)
        content = file.read()
        if not content:
            cluster_id = _new_cluster_id()
            json.dump({"cluster_id": cluster_id, "brokers": self._count}, file)
            file.flush()
            return cluster_id
        try:
            known = json.loads(content)
            cluster_id, brokers = str(known["cluster_id"]), int(known["brokers"])
        except (ValueError, KeyError, TypeError) as error:
            raise SandboxError(f"{file.name} is damaged ({error}): name another folder") from error
        if brokers != self._count:
            raise SandboxError(
                f"{self._data} was made for {brokers} broker(s), not for {self._count}: "
                f"start with --brokers {brokers}, or name another folder"
            )
        return cluster_id

    def _close_folder(self, *, keep_logs: bool) -> None:
        if self._data is None and self._folder is not None:
            worth_reading = keep_logs and any(self._folder.glob("broker-*/broker.log"))
            for path in self._folder.glob("broker-*/data") if worth_reading else [self._folder]:
                shutil.rmtree(path, ignore_errors=True)
        self._folder = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _opened(self) -> Path:
        if self._folder is None:
            raise SandboxError("the cluster is not running")
        return self._folder

    def _kill_all(self) -> None:
        for broker in self.brokers:
            broker.kill()


def _heap_mb(brokers: int, benchmark: bool) -> int:
    if benchmark:
        return 1024
    return 512 if brokers == 1 else 400


def _jvm_flags(heap_mb: int, benchmark: bool) -> tuple[str, ...]:
    quick = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    return (
        f"-Xmx{heap_mb}m",
        *(() if benchmark else quick),
        # Without memory a broker is of no use to anyone: better that it ends, and is seen to.
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",
        # Three quarters of what a start logs is every property with its value, four times over.
        "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    )


def _new_cluster_id() -> str:
    """Return a random UUID as Kafka writes it: 22 characters of URL-safe base 64.

    As Kafka does, it avoids one that begins with a dash: its tools take that for an option.
    """
    while True:
        candidate = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not candidate.startswith("-"):
            return candidate
