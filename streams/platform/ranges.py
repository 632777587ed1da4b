"""Which offsets a file covers: in its name, and in what is committed along with the offset.

The ranges of a partition lie end to end. A range is what was committed at once; its rows are in one file for each
day, and all of those carry the range in their names. What was read and is no row (dead letters, skipped records,
the brokers' own marks) belongs to the range around it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from streams.kafka.offset_note import OffsetNote

ASIDE: Final = "_aside"
"""Folder of files that are not committed. Spark, Hive and Arrow pass over names with an underscore in front; DuckDB
and Polars, asked for ``**/*.parquet``, do not, so the files in it end otherwise, too."""

# Kafka's offsets have at most 19 digits: with all of them, files sort by name as they do by offset.
_DIGITS: Final = 20
_FINAL: Final = re.compile(r"(?P<topic>.+)-(?P<partition>\d+)-(?P<first>\d{20})-(?P<last>\d{20})\.parquet")
_WAITING: Final = re.compile(
    r"(?P<topic>.+)-(?P<partition>\d+)-(?P<first>\d{20})-(?P<token>[0-9a-f]{32})-(?P<day>\d{4}-\d\d-\d\d)\.aside"
)
_DAYS: Final = b"paystream.days"


def note_days(days: Iterable[str]) -> dict[bytes, bytes]:
    """Say, in the metadata of a file, of which days its range has files: so one that is lost is missed."""
    return {_DAYS: ",".join(sorted(days)).encode()}


def known_to(day: str, days: Sequence[str]) -> Sequence[str]:
    """Choose the days that the file of one day is to note.

    The first day's file notes all: it is the one that the mark names. Each of the others notes the first, itself and
    the next. So every one is known to another, and the notes do not grow with the square of the days: they were 500 MB
    for 5,000 rows of 5,000 days when each file noted all of them.

    Arguments:
        day: whose file it is.
        days: of which the range has files, in order.
    """
    if day == days[0]:
        return days
    following = bisect_right(days, day)
    return [days[0], day, *days[following : following + 1]]


def noted_days(metadata: Mapping[bytes, bytes] | None) -> frozenset[str]:
    """Read what :func:`note_days` has said; empty if nothing has been."""
    text = (metadata or {}).get(_DAYS, b"").decode(errors="replace")
    return frozenset(text.split(",")) if text else frozenset()


@dataclass(frozen=True, slots=True, order=True)
class FileRange:
    """The offsets that a committed file covers.

    Attributes:
        topic: where its rows were read.
        partition: likewise.
        first: the first offset.
        next_offset: the offset after the last.
    """

    topic: str
    partition: int
    first: int
    next_offset: int

    def path(self, day: str) -> str:
        """Name the file of one day, within the folder."""
        return (
            f"dt={day}/{self.topic}-{self.partition}-{self.first:0{_DIGITS}}-{self.next_offset - 1:0{_DIGITS}}.parquet"
        )

    @classmethod
    def of(cls, name: str) -> FileRange | None:
        """Read the name of a file, without its folder; None if it is none of ours."""
        found = _FINAL.fullmatch(name)
        if found is None:
            return None
        return cls(found["topic"], int(found["partition"]), int(found["first"]), int(found["last"]) + 1)


@dataclass(frozen=True, slots=True)
class WaitingFile:
    """A file that is written, and waits aside until its offsets are committed.

    Attributes:
        topic: where its rows were read.
        partition: likewise.
        first: the first offset of its range.
        token: of the one attempt to commit it.
        day: whose rows it has, ``YYYY-MM-DD``.
    """

    topic: str
    partition: int
    first: int
    token: str
    day: str

    @property
    def path(self) -> str:
        """Its name within the folder."""
        return f"{ASIDE}/{self.topic}-{self.partition}-{self.first:0{_DIGITS}}-{self.token}-{self.day}.aside"

    @classmethod
    def of(cls, name: str) -> WaitingFile | None:
        """Read the name of a file, without its folder; None if it is none of ours."""
        found = _WAITING.fullmatch(name)
        if found is None:
            return None
        return cls(found["topic"], int(found["partition"]), int(found["first"]), found["token"], found["day"])


@dataclass(frozen=True, slots=True)
class Mark:
    """What is committed along with the offset, beside the topic's id: the files' part of an :class:`OffsetNote`.

    Attributes:
        first: where the range began that was committed with it.
        token: of its files; empty if it had no rows, and then the next range begins where this one did.
        begin: where the partition's very first range began: what is missing from there on is missed.
        day: one of the days of which the range has files; empty if it had no rows.
    """

    first: int
    token: str
    begin: int
    day: str = ""

    def fields(self) -> dict[str, Any]:
        """Return it as fields of a note; their names are those of earlier versions, which read them, too."""
        return asdict(self)

    @classmethod
    def of(cls, note: OffsetNote) -> Mark | None:
        """Read it; None if somebody else committed the offset."""
        fields = note.more
        try:
            return cls(int(fields["first"]), str(fields["token"]), int(fields["begin"]), str(fields["day"]))
        except (ValueError, TypeError, KeyError):
            return None
