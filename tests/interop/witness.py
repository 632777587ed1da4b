"""The Spring Kafka application in ``spring/``: built once, run as a process per command."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest

PROJECT: Final = Path(__file__).parent / "spring"
_TARGET: Final = PROJECT / "target"
_STAMP: Final = _TARGET / "built-from"

_OLDEST_JAVA: Final = 17
# The first build fetches some 20 MB; it takes ten seconds where the network is good.
_BUILD_SECONDS: Final = 300
# The witness itself gives up after 40 s and says what it was waiting for.
_RUN_SECONDS: Final = 50
# Started often and short-lived: a small heap, the quick compiler and no threads for collecting garbage.
_JVM_OPTIONS: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m")
# What Maven says when it is the network, not the project, that is at fault.
_NOT_TO_BE_HAD: Final = re.compile(r"Could not (transfer|resolve|find) |could not be resolved|Cannot access ")


@dataclass(frozen=True, slots=True)
class Witness:
    """The built application."""

    java: str

    async def run(self, command: str, *arguments: str) -> list[dict[str, Any]]:
        """Run a command to its end and return what it said.

        Raises:
            AssertionError: it failed; with its log.
        """
        classpath = f"{_TARGET / 'classes'}{os.pathsep}{_TARGET / 'lib'}/*"
        process = await asyncio.create_subprocess_exec(
            self.java, *_JVM_OPTIONS, "-cp", classpath, "paystream.witness.Witness", command, *arguments,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            said, log = await asyncio.wait_for(process.communicate(), _RUN_SECONDS)
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        assert process.returncode == 0, f"'{command}' ended with {process.returncode}:\n{log.decode()[-4000:]}"
        return [json.loads(line) for line in said.splitlines()]


def build() -> Witness:
    """Build the application unless it has been built of these very sources.

    Where there is no Maven or no Java, the test that asked is skipped; where CI is true it fails instead.
    """
    for tool in ("mvn", "java", "javac"):
        if shutil.which(tool) is None:
            _do_without(f"there is no {tool} on the PATH")
    java = str(shutil.which("java"))
    version = _java_version(java)
    if version < _OLDEST_JAVA:
        _do_without(f"Java is {version}, and Spring Kafka needs {_OLDEST_JAVA}")
    sources = _fingerprint()
    # Tests run in several processes: one of them builds, the others wait for it.
    with (PROJECT / ".building").open("w") as building:
        fcntl.flock(building, fcntl.LOCK_EX)
        if not _STAMP.exists() or _STAMP.read_text() != sources:
            _compile()
            _STAMP.write_text(sources)
    return Witness(java)


def _do_without(reason: str) -> NoReturn:
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{reason}, and where CI is true, Spring Kafka has to be asked", pytrace=False)
    pytest.skip(f"Spring Kafka is not asked, only what was recorded of it: {reason}")


def _java_version(java: str) -> int:
    said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    assert found is not None, said
    return int(found[1])


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for file in _sources():
        digest.update(f"{file.relative_to(PROJECT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    yield PROJECT / "pom.xml"
    yield from sorted(file for file in (PROJECT / "src").rglob("*") if file.is_file())


def _compile() -> None:
    """Build from what this machine has already fetched and, if that is not enough, fetch the rest."""
    # A class whose source is gone must not be found, nor a library that is no longer asked for.
    shutil.rmtree(_TARGET, ignore_errors=True)
    said = ""
    for offline in (["-o"], []):
        command = ["mvn", "-q", "-B", "-Dstyle.color=never", *offline, "compile"]
        built = subprocess.run(
            command, cwd=PROJECT, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False
        )
        if built.returncode == 0:
            return
        said = built.stdout + built.stderr
        if not _NOT_TO_BE_HAD.search(said):
            break
    else:
        first = next((line for line in said.splitlines() if _NOT_TO_BE_HAD.search(line)), "")
        _do_without(f"Maven could not fetch what it takes: {first[:300]}")
    pytest.fail(f"the Spring application cannot be built:\n{said[-4000:]}", pytrace=False)
