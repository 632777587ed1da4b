"""Dead letters as Spring Kafka wrote them, kept to the byte in ``golden/``.

A header is kept as text where it is text, for the sake of whoever reads the file, and as hexadecimal digits where
it is not. What differs from run to run is put in order before it is kept: times, and the frames of Java's stack
traces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

GOLDEN: Final = Path(__file__).parent / "golden"

WRITTEN_AT_MS: Final = 1_700_000_000_000
"""The timestamp of every record that is to fail."""
SECOND_HOP_AT_MS: Final = 1_700_000_001_000
DUE_AT_MS: Final = 1_700_000_002_000

_THROWN_AT: Final = re.compile(rb"(?<=TimestampedException: Exception thrown at )\S+")
_FRAMES: Final = re.compile(rb"^\t(at |\.\.\. ).*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Attributes:
        spring: the version of Spring Kafka that wrote it.
        topic: where it lay.
        partition: likewise.
        key: raw bytes, or None.
        value: likewise.
        headers: in their order.
    """

    spring: str
    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


def in_order(headers: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Replace what differs from run to run by something of the same kind."""
    return [(name, _settled(name, value)) for name, value in headers]


def _settled(name: str, value: bytes) -> bytes:
    if name.endswith("exception-stacktrace"):
        return _THROWN_AT.sub(b"2023-11-14T22:13:22Z", _FRAMES.sub(b"", value))
    if name == "kafka_dlt-original-timestamp" and int.from_bytes(value, "big") > WRITTEN_AT_MS:
        return SECOND_HOP_AT_MS.to_bytes(len(value), "big")
    if name == "retry_topic-backoff-timestamp" and int.from_bytes(value, "big") > WRITTEN_AT_MS:
        return DUE_AT_MS.to_bytes(len(value), "big")
    return value


# -- files -------------------------------------------------------------------------------------------


def scenarios() -> list[str]:
    """Name what has been recorded."""
    return sorted(file.stem for file in GOLDEN.glob("*.json"))


def load(scenario: str) -> Letter:
    """Return what was recorded."""
    kept: dict[str, Any] = json.loads((GOLDEN / f"{scenario}.json").read_text("utf-8"))
    headers = [(str(header["name"]), _bytes(header)) for header in kept["headers"]]
    key, value = (None if kept[name] is None else _bytes(kept[name]) for name in ("key", "value"))
    return Letter(kept["spring"], kept["topic"], kept["partition"], key, value, headers)


def save(scenario: str, letter: Letter) -> None:
    """Keep a letter in the place of what was recorded before."""
    kept = {
        "spring": letter.spring,
        "topic": letter.topic,
        "partition": letter.partition,
        "key": None if letter.key is None else _text(letter.key),
        "value": None if letter.value is None else _text(letter.value),
        "headers": [{"name": name, **_text(value)} for name, value in letter.headers],
    }
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / f"{scenario}.json").write_text(json.dumps(kept, indent=2) + "\n", "utf-8")


def _text(value: bytes) -> dict[str, str]:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return {"hex": value.hex()}
    return {"utf8": text} if all(each.isprintable() or each in "\n\t" for each in text) else {"hex": value.hex()}


def _bytes(kept: dict[str, str]) -> bytes:
    return kept["utf8"].encode() if "utf8" in kept else bytes.fromhex(kept["hex"])
