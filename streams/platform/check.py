"""Whether the files of a partition and its committed offset tell the same story."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from streams.platform.ranges import FileRange, Mark, WaitingFile


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file where readers look.

    Attributes:
        covered: the offsets that its name says.
        day: in whose folder it is.
        rows: how many it has.
        days: of which its range has files, as it says itself.
        flaws: what is wrong with it alone, in words.
    """

    covered: FileRange
    day: str
    rows: int = 0
    days: frozenset[str] = frozenset()
    flaws: Sequence[str] = ()


def look_into(
    name: str, covered: FileRange, day: str, offsets: Sequence[int], row_days: Set[str], range_days: frozenset[str]
) -> FoundFile:
    """Judge a file by its rows, which need not be kept for it: there may be more than fit into memory.

    A row that is in two files is no further case: rows are within their ranges, ranges do not overlap, and the files
    of one have each another day's.

    Arguments:
        name: its name, for the words.
        covered: the offsets that its name says.
        day: in whose folder it is.
        offsets: of its rows.
        row_days: of its rows.
        range_days: of which its range has files, as it says itself.
    """
    flaws = []
    if others := ", ".join(sorted(row_days - {day})):
        flaws.append(f"{name} has rows of {others}: it belongs into another folder")
    first, end = covered.first, covered.next_offset
    outside = next((offset for offset in offsets if not first <= offset < end), None)
    if outside is not None:
        flaws.append(f"{name} is of offsets {first} to {end - 1}, and has {outside}")
    if len(set(offsets)) < len(offsets):
        twice = [offset for offset, times in Counter(offsets).items() if times > 1]
        flaws.append(f"{name} has {len(twice)} offsets more than once, the first is {min(twice)}")
    return FoundFile(covered, day, len(offsets), range_days, flaws)


@dataclass(frozen=True, slots=True)
class Committed:
    """What a partition's group has committed.

    Attributes:
        offset: before the files were listed; 0 if there was none yet.
        mark: what came with it.
        latest: the offset after they were listed; a worker may have gone on meanwhile.
        former: whether it is of a topic that was deleted since.
    """

    offset: int
    mark: Mark | None
    latest: int
    former: bool = False

    @property
    def begin(self) -> int | None:
        """Where the partition's very first range began, if that is known."""
        return self.mark.begin if self.mark is not None else None


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

    @property
    def verdict(self) -> str:
        """Say it in two words."""
        if self.problems:
            return "see below"
        return "complete" if self.files or self.committed is not None else "nothing yet"


def check_partition(
    partition: int, files: Sequence[FoundFile], waiting: Sequence[WaitingFile], committed: Committed | None
) -> PartitionReport:
    """Compare the files of one partition with what is committed.

    Gaps and days are looked for below the offset that was committed before the files were listed: of what a
    worker commits meanwhile, some files may be listed and others not.

    Arguments:
        partition: its number.
        files: those that readers see.
        waiting: files of the partition that are aside.
        committed: what its group has committed.
    """
    report = PartitionReport(partition, len(files), sum(each.rows for each in files))
    report.committed = committed.offset if committed is not None else None
    report.problems.extend(flaw for each in files for flaw in each.flaws)
    ranges = sorted({each.covered for each in files})
    if ranges:
        report.first, report.end = ranges[0].first, max(each.next_offset for each in ranges)
    unshown = [each for each in waiting if committed and committed.mark and each.token == committed.mark.token]
    _compare_ranges(report, ranges, committed, unshown)
    _compare_days(report, files, committed, unshown)
    _compare_end(report, committed)
    _note_those_aside(report, len(unshown), len(waiting) - len(unshown))
    if committed is not None and committed.former:
        report.problems.append(
            f"offset {committed.offset} is of a topic that was deleted and made anew since, and so are the files: move "
            "them away, and the new topic is read from its beginning"
        )
    return report


def _compare_ranges(
    report: PartitionReport, ranges: Sequence[FileRange], committed: Committed | None, unshown: Sequence[WaitingFile]
) -> None:
    known = committed.begin if committed is not None else None
    begin = report.first if known is None else known
    end = report.end if committed is None else _covered(committed, unshown)
    if begin is not None and end is not None:
        report.problems.extend(
            f"a gap: nothing covers offsets {first} to {last}" for first, last in _gaps(ranges, begin, end)
        )
        # Whoever sets an offset by hand, behind files that are gone on purpose, has seen the gap.
        report.notes.extend(
            f"a gap: nothing covers offsets {first} to {last}, before something else set the offset to {begin}"
            for first, last in _gaps(ranges, begin if report.first is None else report.first, begin)
        )
    for first, last in _overlaps(ranges):
        report.problems.append(f"an overlap: offsets {first} to {last} are covered twice")


def _covered(committed: Committed, unshown: Sequence[WaitingFile]) -> int:
    """Return where the files must at least end: not at the offset if its range has no rows, so no file, or none yet."""
    mark = committed.mark
    return mark.first if mark is not None and (unshown or not mark.token) else committed.offset


def _gaps(ranges: Iterable[FileRange], begin: int, end: int) -> Iterator[tuple[int, int]]:
    reach = begin
    for each in ranges:
        if reach < min(each.first, end):
            yield reach, min(each.first, end) - 1
        reach = max(reach, each.next_offset)
    if reach < end:
        yield reach, end - 1


def _overlaps(ranges: Sequence[FileRange]) -> Iterator[tuple[int, int]]:
    reach = 0
    for each in ranges:
        if each.first < reach:
            yield each.first, min(reach, each.next_offset) - 1
        reach = max(reach, each.next_offset)


def _compare_days(
    report: PartitionReport, files: Iterable[FoundFile], committed: Committed | None, unshown: Sequence[WaitingFile]
) -> None:
    """Find the files of which only their fellows know, or the mark: a range has one for each day, and names them."""
    there: dict[tuple[int, int], set[str]] = defaultdict(set)
    named: dict[tuple[int, int], set[str]] = defaultdict(set)
    for each in files:
        bounds = each.covered.first, each.covered.next_offset
        there[bounds].add(each.day)
        named[bounds] |= each.days
    if committed is not None and committed.mark is not None:
        bounds = committed.mark.first, committed.offset
        there[bounds] |= {each.day for each in unshown}
        if there[bounds] and committed.mark.day:  # or all of it is missing, which is a gap
            named[bounds].add(committed.mark.day)
    for (first, end), days in sorted(named.items()):
        if committed is None or end <= committed.offset:
            report.problems.extend(
                f"the file of offsets {first} to {end - 1} for {day} is missing"
                for day in sorted(days - there[first, end])
            )


def _compare_end(report: PartitionReport, committed: Committed | None) -> None:
    if committed is None:
        if report.end is not None:
            report.problems.append("there are files, and no offset is committed: is it the right group and folder?")
        return
    foreign = f"offset {committed.offset} was set by something else than the platform agent"
    if report.end is not None:
        if report.end > committed.latest:
            report.problems.append(f"files go on to offset {report.end - 1}, but only {committed.latest} is committed")
        if committed.mark is None and committed.offset:
            report.notes.append(foreign)
    elif committed.mark is None and committed.offset:
        report.problems.append(f"no file at all, and {foreign}")


def _note_those_aside(report: PartitionReport, unshown: int, others: int) -> None:
    if unshown:
        report.notes.append(f"{unshown} files are committed and not shown yet: the next worker shows them")
    if others:
        report.notes.append(
            f"{others} files aside, of batches that are not committed: if no worker is about to commit them, "
            "the partition's next owner deletes them"
        )


def by_partition(
    topic: str, files: Sequence[FoundFile], waiting: Sequence[WaitingFile], committed: Mapping[int, Committed],
    partitions: Iterable[int],
) -> list[PartitionReport]:  # fmt: skip
    """Check every partition of a topic, and those that only the files know."""
    existing, every_aside = set(partitions), defaultdict(list)
    every_file: dict[int, list[FoundFile]] = defaultdict(list)
    for file in files:
        every_file[file.covered.partition].append(file)
    for each in waiting:
        if each.topic == topic:
            every_aside[each.partition].append(each)
    reports = [
        check_partition(number, every_file[number], every_aside[number], committed.get(number))
        for number in sorted(existing | set(every_file))
    ]
    for report in reports:
        if report.partition not in existing:
            report.problems.insert(0, f"{topic} has no such partition")
    return reports
