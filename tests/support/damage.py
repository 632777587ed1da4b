"""Damaging batches where a broker keeps them: in its segment files, under its hands.

A broker sends what is in the file, and keeps no copy of its own; so a byte that is changed there is what a disk does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiokafka.record.util import calc_crc32c

from streams.sandbox import Cluster

# Record batch, version 2: https://kafka.apache.org/documentation/#recordbatch.
LENGTH_AT = 8
MAGIC_AT = 16
CRC_AT = 17
ATTRIBUTES_AT = 21
DELTA_AT = 23
COUNT_AT = 57
RECORDS_AT = 61


@dataclass(frozen=True, slots=True)
class Stored:
    """A batch in a segment file: which offsets it has, and where it lies."""

    first_offset: int
    next_offset: int
    at: int
    size: int


def segment(cluster: Cluster, topic: str, partition: int = 0, broker: int = 0) -> Path:
    """Return the segment file of a partition that has one."""
    (found,) = (cluster.brokers[broker].folder / "data" / f"{topic}-{partition}").glob("*.log")
    return found


def stored(file: Path) -> list[Stored]:
    """List the batches in a segment file."""
    data, at, found = file.read_bytes(), 0, []
    while at < len(data):
        base, length = struct.unpack_from(">qi", data, at)
        (delta,) = struct.unpack_from(">i", data, at + DELTA_AT)
        found.append(Stored(base, base + delta + 1, at, length + 12))
        at += length + 12
    return found


def change(file: Path, batch: Stored, alter: Callable[[bytearray], None], *, mend_checksum: bool = False) -> None:
    """Change a batch in place; its size stays."""
    with file.open("r+b") as opened:
        opened.seek(batch.at)
        data = bytearray(opened.read(batch.size))
        alter(data)
        assert len(data) == batch.size
        if mend_checksum:
            struct.pack_into(">I", data, CRC_AT, calc_crc32c(bytes(data[ATTRIBUTES_AT:])))
        opened.seek(batch.at)
        opened.write(data)


def flip(file: Path, batch: Stored, at: int) -> None:
    """Flip a byte of a batch; it is counted from the batch's end if it is negative."""

    def alter(data: bytearray) -> None:
        data[at] ^= 0xFF

    change(file, batch, alter)
