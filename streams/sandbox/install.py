"""Putting the locked jars into the user's cache folder, once.

The versions were resolved when the lock was made, so installing is no more than downloading the files it
names. When they are all there, :func:`install` costs one ``stat`` a jar and imports nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from streams.failure.errors import SandboxError, how_to_install
from streams.sandbox.lock import Jar, Lock, load_lock, sha256_of

EXTRA = how_to_install("sandbox")

_STAGING = "download-"
# Most jars are small, so round trips and not bandwidth set the time: four at once halve it, and
# more than that is impolite to a public repository.
_AT_ONCE = 4
# A connection cut short is common enough on a laptop; three times in a row is an outage.
_ATTEMPTS = 3
_REQUEST_TIMEOUT = 30


def cache_folder() -> Path:
    """Return the jars' folder: ``$XDG_CACHE_HOME/paystream/kafka-<version>``, or below ``~/.cache``."""
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification has relative paths ignored.
    base = configured if configured.is_absolute() else Path("~/.cache").expanduser()
    return base / "paystream" / f"kafka-{load_lock().kafka}"


def install(lock: Lock | None = None, folder: Path | None = None, repositories: Mapping[str, str] | None = None) -> str:
    """Return the class path, after downloading whatever of it is missing.

    Safe when several processes install at once: one downloads, the others wait for it.

    Arguments:
        lock: what to install; the package's lock file if not given.
        folder: where to; :func:`cache_folder` if not given.
        repositories: Maven repositories as name and address; Maven Central if not given.

    Raises:
        SandboxError: the download failed, a file is not the locked one, or the folder cannot be written.
    """
    lock = lock or load_lock()
    folder = folder or cache_folder()
    if lock.missing_in(folder):
        try:
            with _alone_in(folder):
                if missing := lock.missing_in(folder):  # still: another process may have been first
                    _download(missing, lock, folder, repositories)
        except OSError as error:
            raise SandboxError(
                f"cannot install Kafka in {folder}: {error}\n"
                "Free some space there, or set XDG_CACHE_HOME to a folder that can be written."
            ) from error
    return os.pathsep.join(str(folder / jar.file) for jar in lock.jars)


@contextlib.contextmanager
def maven() -> Iterator[Any]:
    """Lend the module ``jgo``, with TLS trusting what the operating system trusts.

    Raises:
        SandboxError: the extra is not installed.
    """
    try:
        import jgo
        import truststore
    except ImportError as error:
        raise SandboxError(f"the embedded Kafka needs more packages ({error}): {EXTRA}") from error
    # jgo's own bundle of certificates does not know the authority of a company's proxy; the system does.
    # Taken back afterwards: it changes the ssl module for the whole process.
    truststore.inject_into_ssl()
    try:
        yield jgo
    finally:
        truststore.extract_from_ssl()


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. The operating system lets go of it when the process dies, however it dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _notice(f"waiting for another process that is installing Kafka in {folder}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(jars: list[Jar], lock: Lock, folder: Path, repositories: Mapping[str, str] | None) -> None:
    for stale in folder.glob(_STAGING + "*"):  # of a process that was killed: we hold the lock
        shutil.rmtree(stale)
    size = sum(jar.size for jar in jars) / 1e6
    _notice(f"downloading Apache Kafka {lock.kafka} ({len(jars)} files, {size:.0f} MB) to {folder}, this once")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=_STAGING, dir=folder) as staging, maven() as jgo:
        context = jgo.MavenContext(
            repo_cache=Path(staging),
            remote_repos=dict(repositories) if repositories else None,
            timeout=_REQUEST_TIMEOUT,
        )
        pool = ThreadPoolExecutor(_AT_ONCE)
        try:
            for jar, path in zip(jars, pool.map(lambda jar: _fetch(context, jar), jars), strict=True):
                path.replace(folder / jar.file)
        finally:
            pool.shutdown(cancel_futures=True)
    _notice(f"downloaded and verified in {time.monotonic() - began:.0f} s")


def _fetch(context: Any, jar: Jar) -> Path:
    """Download one jar and verify it.

    A file that is not the locked one is tried again as well: a download cut short looks the same.
    """
    group, artifact, version = jar.coordinates.split(":")
    wanted = context.project(group, artifact).at_version(version).artifact()
    reason = ""
    for _ in range(_ATTEMPTS):
        Path(wanted.cached_path).unlink(missing_ok=True)
        try:
            path = Path(wanted.resolve())
        except Exception as error:  # whatever requests, urllib3 and ssl may raise
            reason = f"{type(error).__name__}: {error}"
            continue
        found = sha256_of(path)
        if found == jar.sha256:
            return path
        reason = f"its SHA-256 is {found}, and the lock file says {jar.sha256}. Do not use it"
    raise SandboxError(
        f"cannot download {jar.coordinates} from Maven Central: {reason}\n"
        "Is the network there, and is HTTPS_PROXY set if you need a proxy? Trying again continues safely."
    )


def _notice(text: str) -> None:
    print(f"paystream: {text}", file=sys.stderr, flush=True)
