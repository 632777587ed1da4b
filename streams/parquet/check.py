"""Whether the files of a partition and its committed offset tell the same story."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from streams.parquet.ranges import FileRange, Mark, WaitingFile


@dataclass(frozen=True, slots=True)
class Committed:
    """What a partition's group has committed.

    Attributes:
        offset: before the files were listed.
        mark: what came with it.
        latest: the offset after they were listed; a worker may have gone on meanwhile.
    """

    offset: int
    mark: Mark | None
    latest: int


@dataclass(slots=True)
class PartitionReport:
    """What was found of one partition.

    Attributes:
        partition: its number.
        files: how many there are.
        rows: in all of them.
        first: where the first range begins; None without files.
        end: where the last one ends; likewise.
        committed: the offset that is committed; None if there is none.
        problems: what is wrong, in words.
        notes: what is no problem but worth a line.
    """

    partition: int
    files: int = 0
    rows: int = 0
    first: int | None = None
    end: int | None = None
    committed: int | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_partition(
    partition: int,
    files: Sequence[tuple[FileRange, Sequence[int]]],
    waiting: Iterable[WaitingFile],
    committed: Committed | None,
    flaws: Iterable[str] = (),
) -> PartitionReport:
    """Compare the files of one partition with what is committed.

    Arguments:
        partition: its number.
        files: ranges, and the offsets of the rows in each file.
        waiting: files of the partition that are aside.
        committed: what its group has committed.
        flaws: what is wrong with single files, in words.
    """
    report = PartitionReport(partition, len(files), sum(len(offsets) for _, offsets in files))
    report.problems.extend(flaws)
    report.committed = committed.offset if committed is not None else None
    ranges = sorted({found for found, _ in files})
    unshown = [each for each in waiting if committed and committed.mark and each.token == committed.mark.token]
    if ranges:
        report.first, report.end = ranges[0].first, max(each.next_offset for each in ranges)
    _compare_ranges(report, ranges)
    _compare_rows(report, files)
    _compare_end(report, committed, unshown)
    leftovers = len(list(waiting)) - len(unshown)
    if unshown:
        report.notes.append(f"{len(unshown)} files are committed and not shown yet: the next worker shows them")
    if leftovers:
        report.notes.append(
            f"{leftovers} files aside, of batches that were not committed: a worker deletes them after its next commit"
        )
    return report


def missing_days(
    shown: Iterable[tuple[FileRange, str, frozenset[str]]], waiting: Iterable[WaitingFile]
) -> list[tuple[FileRange, str]]:
    """Find the files of which only their fellows know: a range has one for each day, and each names all of them.

    Arguments:
        shown: of each file its range, its day, and the days that it names.
        waiting: files aside; those of a range that is just being shown are not missing.
    """
    there: dict[FileRange, set[str]] = defaultdict(set)
    named: dict[FileRange, set[str]] = defaultdict(set)
    for found, day, days in shown:
        there[found].add(day)
        named[found] |= days
    aside = {(each.topic, each.partition, each.first, each.day) for each in waiting}
    return [
        (found, f"the file of offsets {found.first} to {found.next_offset - 1} for {day} is missing")
        for found, days in sorted(named.items())
        for day in sorted(days - there[found])
        if (found.topic, found.partition, found.first, day) not in aside
    ]


def _compare_ranges(report: PartitionReport, ranges: Sequence[FileRange]) -> None:
    for before, after in pairwise(ranges):
        if after.first > before.next_offset:
            report.problems.append(f"a gap: nothing covers offsets {before.next_offset} to {after.first - 1}")
        elif after.first < before.next_offset:
            end = min(before.next_offset, after.next_offset) - 1
            report.problems.append(f"an overlap: offsets {after.first} to {end} are covered twice")


def _compare_rows(report: PartitionReport, files: Iterable[tuple[FileRange, Sequence[int]]]) -> None:
    seen: Counter[int] = Counter()
    for covered, offsets in files:
        seen.update(offsets)
        outside = [each for each in offsets if not covered.first <= each < covered.next_offset]
        if outside:
            report.problems.append(f"offset {outside[0]} is in a file of {covered.first} to {covered.next_offset - 1}")
    twice = [offset for offset, times in seen.items() if times > 1]
    if twice:
        report.problems.append(f"{len(twice)} records are there more than once, the first at offset {min(twice)}")


def _compare_end(report: PartitionReport, committed: Committed | None, unshown: Sequence[WaitingFile]) -> None:
    if committed is None:
        if report.end is not None:
            report.problems.append("there are files, and no offset is committed: is it the right group and folder?")
        return
    # A range without rows has no file: the files then end where it began.
    covered = committed.offset
    if committed.mark is not None and (unshown or not committed.mark.token):
        covered = committed.mark.first
    if report.end is None:
        if committed.mark is not None and committed.mark.token and not unshown:
            report.problems.append(f"no file at all, but offset {committed.offset} is committed")
    elif report.end < covered:
        report.problems.append(f"a gap: nothing covers offsets {report.end} to {covered - 1}, which are committed")
    elif report.end > committed.latest:
        report.problems.append(f"files go on to offset {report.end - 1}, but only {committed.latest} is committed")


def by_partition(
    topic: str, files: Iterable[tuple[FileRange, Sequence[int]]], waiting: Iterable[WaitingFile],
    committed: Mapping[int, Committed], partitions: Iterable[int], flaws: Sequence[tuple[FileRange, str]] = (),
) -> list[PartitionReport]:  # fmt: skip
    """Check every partition of a topic."""
    every_file, every_waiting = list(files), list(waiting)
    return [
        check_partition(
            number,
            [each for each in every_file if (each[0].topic, each[0].partition) == (topic, number)],
            [each for each in every_waiting if (each.topic, each.partition) == (topic, number)],
            committed.get(number),
            [flaw for found, flaw in flaws if (found.topic, found.partition) == (topic, number)],
        )
        for number in sorted(partitions)
    ]
