"""Which files make up the embedded Kafka: ``kafka.lock.json``, made by :mod:`streams.sandbox.relock`."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

LOCK_FILE = Path(__file__).with_name("kafka.lock.json")


@dataclass(frozen=True, slots=True)
class Jar:
    """One file of the class path.

    Attributes:
        coordinates: Maven's ``group:artifact:version``.
        size: in bytes.
        sha256: in lower-case hexadecimal.
    """

    coordinates: str
    size: int
    sha256: str

    @property
    def file(self) -> str:
        """Its name, as Maven Central publishes it."""
        _, artifact, version = self.coordinates.split(":")
        return f"{artifact}-{version}.jar"


@dataclass(frozen=True, slots=True)
class Lock:
    """Everything on the class path, in class-path order."""

    kafka: str
    jars: tuple[Jar, ...]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(jar.size for jar in self.jars)

    def missing_in(self, folder: Path) -> list[Jar]:
        """Name the jars that are not in the folder, or not with their size. Costs one ``stat`` a jar."""
        return [jar for jar in self.jars if _size_of(folder / jar.file) != jar.size]


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in lower-case hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@functools.cache
def load_lock() -> Lock:
    """Read the lock file that is part of the package."""
    content = json.loads(LOCK_FILE.read_text(encoding="utf-8"))
    return Lock(kafka=content["kafka"], jars=tuple(Jar(**jar) for jar in content["jars"]))
