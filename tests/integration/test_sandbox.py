from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.failure.errors import ExitStatus
from streams.sandbox import Cluster, SandboxError, cluster
from streams.sandbox.process import free_ports

COMMAND = "from streams.commands.sandbox import sandbox; sandbox(prog_name='paystream sandbox')"


# -- talking to Kafka ------------------------------------------------------------------------------


async def create_topic(servers: str, topic: str, copies: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=copies)])
    finally:
        await admin.close()


async def produce(servers: str, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all", max_request_size=4_000_000) as producer:
        await producer.send_and_wait(topic, value, partition=0)


async def consume(servers: str, topic: str, count: int) -> list[bytes]:
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=servers, auto_offset_reset="earliest", group_id=f"test-{uuid.uuid4()}"
    ) as consumer:
        return [(await consumer.getone()).value for _ in range(count)]


# -- processes -------------------------------------------------------------------------------------


def java_processes_of(folder: Path) -> list[int]:
    """Ids of the brokers whose files are in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            if b"kafka.Kafka" in arguments and any(os.fsencode(folder) in each for each in arguments):
                found.append(int(process.name))
    return found


def addresses_listening_at(pid: int, port: int) -> list[str]:
    """Addresses as the kernel writes them: hexadecimal, the bytes of each word reversed."""
    found = []
    for table in ("tcp", "tcp6"):
        for line in text_of(Path(f"/proc/{pid}/net/{table}")).splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, number = local.partition(":")
            if state == "0A" and int(number, 16) == port:  # 0A is LISTEN
                found.append(address)
    return found


def state_of(pid: int) -> str:
    """R, S, T…, as ``ps`` shows it."""
    return text_of(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[0]


def text_of(path: Path) -> str:
    return path.read_text()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def eventually(condition: Callable[[], bool], what: str, deadline: float = 15) -> None:
    until = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < until, f"not within {deadline} s: {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def sandbox_command(*arguments: str, temporary: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command until it says where it listens; lend the process and what it said."""
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().rstrip("\n")
        finally:
            process.kill()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files: this test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


# -- one broker ------------------------------------------------------------------------------------


async def test_what_is_produced_is_consumed(kafka: Cluster) -> None:
    await create_topic(kafka.bootstrap_servers, "sandbox-round-trip")
    large = bytes(2_500_000)
    await produce(kafka.bootstrap_servers, "sandbox-round-trip", b"paid")
    await produce(kafka.bootstrap_servers, "sandbox-round-trip", large)
    assert await consume(kafka.bootstrap_servers, "sandbox-round-trip", 2) == [b"paid", large]


def test_the_shared_broker_can_be_used_by_tests_that_are_no_coroutines(kafka: Cluster) -> None:
    assert re.fullmatch(r"127\.0\.0\.1:\d+", kafka.bootstrap_servers)
    with socket.create_connection(("127.0.0.1", kafka.brokers[0].port)):
        assert kafka.brokers[0].running


async def test_it_listens_on_this_machine_only(kafka: Cluster) -> None:
    broker = kafka.brokers[0]
    assert addresses_listening_at(broker.pid, broker.port) in (
        ["0100007F"],
        ["0000000000000000FFFF00000100007F"],
    )


async def test_stopping_leaves_neither_process_nor_folder(temporary: Path) -> None:
    async with Cluster() as running:
        folder = running.folder
        assert folder is not None
        assert folder.parent == temporary
        assert java_processes_of(folder) == [running.brokers[0].pid]
        assert "Kafka Server started" in text_of(running.brokers[0].log)
    assert java_processes_of(folder) == []
    assert not folder.exists()
    with pytest.raises(SandboxError, match="broker 1 is not running"):
        _ = running.brokers[0].pid


async def test_data_is_there_at_the_next_start_in_the_same_cluster(tmp_path: Path) -> None:
    running = Cluster(data=tmp_path / "data")
    async with running:
        await create_topic(running.bootstrap_servers, "kept")
        await produce(running.bootstrap_servers, "kept", b"before")
        with pytest.raises(SandboxError, match="is in use by another sandbox"):
            await Cluster(data=tmp_path / "data").start()
    identity = (tmp_path / "data" / "cluster.json").read_text()
    with pytest.raises(SandboxError, match=r"was made for 1 broker\(s\), not for 3"):
        await Cluster(brokers=3, data=tmp_path / "data").start()
    async with running:  # the same object, for a second time
        await produce(running.bootstrap_servers, "kept", b"after")
        assert await consume(running.bootstrap_servers, "kept", 2) == [b"before", b"after"]
    assert (tmp_path / "data" / "cluster.json").read_text() == identity


async def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SandboxError, match="holds something else"):
        await Cluster(data=tmp_path).start()
    assert names_in(tmp_path) == ["thesis.tex"]


async def test_a_port_that_somebody_took_meanwhile_is_replaced_by_another(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def unlucky(count: int) -> list[int]:
        nonlocal asked
        asked += 1
        ports = free_ports(count)
        return [ports[0], taken] if asked == 1 else ports

    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        taken = somebody.getsockname()[1]
        monkeypatch.setattr(cluster, "free_ports", unlucky)
        async with Cluster() as running:
            assert running.brokers[0].running
    assert asked == 2


async def test_a_named_port_that_is_in_use_is_refused_with_the_way_out(temporary: Path) -> None:
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        port = somebody.getsockname()[1]
        with pytest.raises(SandboxError, match=f"port {port} is in use .* leave --port out"):
            await Cluster(port=port).start()
    assert names_in(temporary) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"heap_mb": 1}, "Too small maximum heap"),
        ({"properties": {"num.io.threads": "many"}}, "Invalid value many for configuration num.io.threads"),
        ({"properties": {"metric.reporters": "no.such.Class"}}, "no.such.Class"),
    ],
)
async def test_a_broker_that_does_not_start_has_its_last_words_quoted_and_its_log_kept(
    wrong: dict[str, object], words: str, temporary: Path
) -> None:
    with pytest.raises(SandboxError) as caught:
        await Cluster(**wrong).start()  # type: ignore[arg-type]
    assert words in str(caught.value)
    log = Path(str(caught.value).rpartition("Its whole log: ")[2])
    assert words in text_of(log)
    assert names_in(log.parent) == ["broker.log", "server.properties"]
    assert java_processes_of(temporary) == []


async def test_a_start_that_is_cancelled_leaves_nothing_behind(temporary: Path) -> None:
    starting = asyncio.ensure_future(Cluster().start())
    while not java_processes_of(temporary):
        assert not starting.done()
        await asyncio.sleep(0.02)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert java_processes_of(temporary) == []


# -- three brokers ---------------------------------------------------------------------------------


@pytest.mark.deadline(120)
async def test_of_three_brokers_one_is_killed_and_restarted_and_another_frozen_and_thawed(
    temporary: Path,
) -> None:
    # A dead broker's partitions move when its session ends; Kafka waits 9 s, a test need not.
    quicker = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
    async with Cluster(brokers=3, properties=quicker) as running:
        assert len(running.bootstrap_servers.split(",")) == 3
        first, second, third = running.brokers
        await create_topic(running.bootstrap_servers, "lane", copies=3)
        await produce(running.bootstrap_servers, "lane", b"three alive")

        port = third.port
        third.kill()
        assert not third.running
        assert not third.ended_by_itself
        await produce(running.bootstrap_servers, "lane", b"two alive")

        await third.start()
        await third.wait_until_ready(30, nodes=[1, 2, 3])
        assert third.port == port

        second.freeze()
        assert state_of(second.pid) == "T"
        assert second.running
        second.thaw()
        await second.wait_until_ready(30)

        os.kill(first.pid, signal.SIGKILL)
        assert "broker 1 at 127.0.0.1" in str(await running.wait_for_a_death())
        await first.start()
        await first.wait_until_ready(30, nodes=[1, 2, 3])
        assert await consume(running.bootstrap_servers, "lane", 2) == [b"three alive", b"two alive"]


# -- the command -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_its_address_and_stops_with_status_0(tmp_path: Path, number: signal.Signals) -> None:
    with sandbox_command(temporary=tmp_path) as (process, address):
        assert re.fullmatch(r"127\.0\.0\.1:\d+", address)
        assert len(java_processes_of(tmp_path)) == 1
        process.send_signal(number)
        said, helped = process.communicate(timeout=20)
    assert process.returncode == 0
    assert said == ""
    assert f"export PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS={address}" in helped
    assert java_processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_command_keeps_its_data_and_takes_the_port_it_is_told(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    options = ("--port", str(port), "--data", str(tmp_path / "data"))
    for attempt in (b"first", b"second"):
        with sandbox_command(*options, temporary=tmp_path) as (process, address):
            assert address == f"127.0.0.1:{port}"
            if attempt == b"first":
                asyncio.run(create_topic(address, "kept"))
            asyncio.run(produce(address, "kept", attempt))
            if attempt == b"second":
                assert asyncio.run(consume(address, "kept", 2)) == [b"first", b"second"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


def test_a_command_stopped_while_starting_leaves_nothing_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:  # fmt: skip
        eventually(lambda: bool(list(tmp_path.iterdir())), "a folder")
        process.send_signal(signal.SIGINT)
        said, helped = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, "")
    assert "Traceback" not in helped
    assert java_processes_of(tmp_path) == []


def test_a_broker_that_dies_under_the_command_ends_it_with_another_status(tmp_path: Path) -> None:
    with sandbox_command(temporary=tmp_path) as (process, _):
        os.kill(java_processes_of(tmp_path)[0], signal.SIGKILL)
        said, helped = process.communicate(timeout=20)
    assert process.returncode == ExitStatus.CONFIGURATION
    assert said == ""
    assert "paystream: broker 1" in helped
    assert "has ended by itself with status -9" in helped
    assert Path(helped.rpartition("Its whole log: ")[2].strip()).is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_a_command_that_is_killed_leaves_no_broker_behind(tmp_path: Path) -> None:
    with sandbox_command(temporary=tmp_path) as (process, _):
        assert len(java_processes_of(tmp_path)) == 1
        process.kill()
        process.communicate(timeout=20)
    eventually(lambda: not java_processes_of(tmp_path), "the broker has died with the command")


def test_the_commands_help_teaches() -> None:
    done = subprocess.run([sys.executable, "-c", COMMAND, "--help"], capture_output=True, text=True, check=True)
    for words in ("--brokers", "--port", "--data FOLDER", "Ctrl-C", "first line", "Examples:"):
        assert words in done.stdout
