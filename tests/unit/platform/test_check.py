from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.offset_note import OffsetNote
from streams.platform.check import Committed, FoundFile, PartitionReport, by_partition, check_partition, look_into
from streams.platform.ranges import FileRange, Mark, WaitingFile

TOKEN = "0123456789abcdef0123456789abcdef"
DAYS = ("2010-12-01", "2010-12-02", "2010-12-03")
Files = list[FoundFile]


def found(
    first: int, end: int, offsets: list[int] | None = None, day: str = DAYS[0], days: tuple[str, ...] = ()
) -> FoundFile:
    rows = list(range(first, end)) if offsets is None else offsets
    return look_into("a file", FileRange("orders", 0, first, end), day, rows, {day}, frozenset(days))


def files(*bounds: tuple[int, int]) -> Files:
    return [found(first, end) for first, end in bounds]


def mark(first: int, begin: int = 0, token: str = TOKEN, day: str = DAYS[0]) -> Mark:
    return Mark(first, token, begin, day if token else "")


def check(
    there: Files, offset: int | None, with_mark: Mark | None = None, waiting: tuple[WaitingFile, ...] = ()
) -> PartitionReport:
    committed = None if offset is None else Committed(offset, with_mark, offset)
    return check_partition(0, there, waiting, committed)


def aside(first: int, token: str = TOKEN, day: str = DAYS[0]) -> WaitingFile:
    return WaitingFile("orders", 0, first, token, day)


cuts = st.lists(st.integers(1, 200), min_size=1, max_size=8, unique=True).map(sorted)


@given(cuts)
def test_ranges_that_lie_end_to_end_are_complete(cuts: list[int]) -> None:
    bounds = list(zip([0, *cuts], cuts, strict=False))
    report = check(files(*bounds), cuts[-1], mark(bounds[-1][0]))
    assert report.problems == []
    assert report.notes == []
    assert report.verdict == "complete"
    assert (report.first, report.end, report.rows) == (0, cuts[-1], cuts[-1])


@given(cuts.filter(lambda cuts: len(cuts) > 2), st.data())
def test_whichever_file_is_missing_or_there_twice_under_another_name_is_found(
    cuts: list[int], data: st.DataObject
) -> None:
    bounds = list(zip([0, *cuts], cuts, strict=False))
    which = data.draw(st.integers(0, len(bounds) - 1))
    missing = bounds[:which] + bounds[which + 1 :]
    first, end = bounds[which]
    last = mark(bounds[-1][0])
    assert check(files(*missing), cuts[-1], last).problems == [f"a gap: nothing covers offsets {first} to {end - 1}"]
    again = check(files(*bounds, (first, end + 1)), cuts[-1] + 1, last)
    assert any("overlap" in each for each in again.problems)


def test_a_range_within_another_is_an_overlap_and_leaves_no_gap_behind_it() -> None:
    assert check(files((0, 100), (10, 20), (100, 110)), 110, mark(100)).problems[0] == (
        "an overlap: offsets 10 to 19 are covered twice"
    )
    assert not any("gap" in each for each in check(files((0, 100), (10, 20), (30, 40)), 100, mark(0)).problems)


@pytest.mark.parametrize(
    ("there", "offset", "problem"),
    [
        (files((0, 10)), 12, "a gap: nothing covers offsets 10 to 11"),
        (files((0, 10)), 8, "files go on to offset 9, but only 8 is committed"),
        (files((0, 10)), None, "no offset is committed"),
        ([], 10, "a gap: nothing covers offsets 0 to 9"),
        ([found(0, 10, [3, 11])], 10, "a file is of offsets 0 to 9, and has 11"),
        ([found(0, 10, [3, 3])], 10, "a file has 1 offsets more than once, the first is 3"),
    ],
)
def test_each_disagreement_is_said_with_its_offsets(there: Files, offset: int | None, problem: str) -> None:
    report = check(there, offset, mark(0))
    assert any(problem in each for each in report.problems)
    assert report.verdict == "see below"


def test_a_range_without_rows_has_no_file_and_is_no_gap() -> None:
    assert check(files((0, 10)), 15, mark(10, token="")).problems == []
    assert check([], 5, mark(0, token="")).problems == []
    assert check([], 15, mark(10, token="")).problems == ["a gap: nothing covers offsets 0 to 9"]


def test_a_partition_that_begins_late_is_complete_from_there_on() -> None:
    assert check(files((40, 50), (50, 60)), 60, mark(50, begin=40)).problems == []


# -- offsets that something else has set -------------------------------------------------------------


def test_an_offset_without_a_mark_and_without_files_was_set_by_something_else() -> None:
    assert check([], 10).problems == ["no file at all, and offset 10 was set by something else than the platform agent"]
    assert check([], 0).problems == []


def test_an_offset_without_a_mark_beside_files_is_noted_and_what_it_has_passed_over_is_a_gap() -> None:
    same, beyond = check(files((0, 10)), 10), check(files((0, 10)), 15)
    assert same.problems == []
    assert beyond.problems == ["a gap: nothing covers offsets 10 to 14"]
    for report in (same, beyond):
        assert "was set by something else" in report.notes[0]


def test_a_gap_before_an_offset_that_was_set_by_hand_is_only_noted() -> None:
    report = check(files((0, 10), (30, 40)), 40, mark(30, begin=20))
    assert report.notes == ["a gap: nothing covers offsets 10 to 19, before something else set the offset to 20"]
    assert report.problems == ["a gap: nothing covers offsets 20 to 29"]


# -- files aside -------------------------------------------------------------------------------------


def test_files_that_are_committed_and_not_shown_yet_are_a_note_and_others_aside_another() -> None:
    report = check(files((0, 10)), 15, mark(10), (aside(10), aside(10, "f" * 32)))
    assert report.problems == []
    assert [note.split(":")[0] for note in report.notes] == [
        "1 files are committed and not shown yet",
        "1 files aside, of batches that are not committed",
    ]
    assert "the partition's next owner deletes them" in report.notes[1]


def test_files_of_which_nothing_is_shown_yet_do_not_hide_that_those_before_are_missing() -> None:
    assert check([], 15, mark(10), (aside(10),)).problems == ["a gap: nothing covers offsets 0 to 9"]


def test_a_partition_without_anything_has_nothing_yet() -> None:
    assert check([], None).verdict == "nothing yet"
    assert check([], 5, mark(0, token="")).verdict == "complete"


# -- days --------------------------------------------------------------------------------------------


@given(st.sets(st.sampled_from(DAYS), min_size=1), st.sets(st.sampled_from(DAYS)))
def test_a_day_is_missing_if_a_fellow_names_it_and_it_is_neither_shown_nor_about_to_be(
    shown: set[str], unshown: set[str]
) -> None:
    there = [found(10, 20, [], day, DAYS) for day in sorted(shown)]
    waiting = [aside(10, day=day) for day in unshown]
    waiting += [aside(10, "f" * 32, day) for day in DAYS]  # of an attempt that failed
    assert check(there, 20, mark(10, 10), tuple(waiting)).problems == [
        f"the file of offsets 10 to 19 for {day} is missing" for day in DAYS if day not in shown | unshown
    ]


def test_the_mark_names_a_day_when_no_fellow_is_there_to_name_it() -> None:
    assert check([], 20, mark(10, 10, day=DAYS[0]), (aside(10, day=DAYS[1]),)).problems == [
        "the file of offsets 10 to 19 for 2010-12-01 is missing"
    ]


# -- while workers run -------------------------------------------------------------------------------


def test_of_what_is_committed_while_files_are_listed_some_may_be_missing() -> None:
    listed = [found(0, 10), found(20, 30, [], DAYS[1], DAYS), found(40, 50)]
    assert check_partition(0, listed, (), Committed(10, mark(0), 50)).problems == []
    assert check_partition(0, listed[1:], (), Committed(0, None, 50)).problems == []
    assert check_partition(0, listed[1:], (), Committed(10, mark(0), 50)).problems == [
        "a gap: nothing covers offsets 0 to 9"
    ]


# -- single files, and all of them -------------------------------------------------------------------


def test_what_is_wrong_with_a_single_file_is_a_problem_of_its_partition() -> None:
    damaged = FoundFile(FileRange("orders", 0, 0, 10), DAYS[0], flaws=["it is damaged"])
    assert check([damaged], 10, mark(0)).problems == ["it is damaged"]


def test_files_of_a_partition_that_the_topic_does_not_have_are_a_problem() -> None:
    there = [FoundFile(FileRange("orders", number, 0, 10), DAYS[0], 10) for number in (0, 7)]
    waiting = [WaitingFile("orders", 0, 10, "f" * 32, DAYS[0]), WaitingFile("another", 0, 10, "f" * 32, DAYS[0])]
    first, second, third = by_partition("orders", there, waiting, {0: Committed(10, mark(0), 10)}, [0, 1])
    assert (first.problems, len(first.notes)) == ([], 1)
    assert second.verdict == "nothing yet"
    assert third.problems[0] == "orders has no such partition"


def test_names_carry_their_range_and_sort_by_offset() -> None:
    early, late = FileRange("platform.orders", 3, 5, 90), FileRange("platform.orders", 3, 90, 1_000)
    assert early.path("2010-12-01") < late.path("2010-12-01")
    for each in (early, late):
        assert FileRange.of(each.path("2010-12-01").rpartition("/")[2]) == each
    waiting = WaitingFile("platform.orders", 3, 5, TOKEN, "2010-12-01")
    assert WaitingFile.of(waiting.path.rpartition("/")[2]) == waiting
    assert FileRange.of("part-0000.parquet") is None
    assert WaitingFile.of("part-0000.parquet") is None


def test_what_others_commit_is_no_mark_of_ours() -> None:
    assert Mark.of(OffsetNote.of(OffsetNote(None, mark(7).fields()).to_text())) == mark(7)
    for text in ("", "null", "[]", "{}", '{"first": "x", "token": 1}', "reset by hand"):
        assert Mark.of(OffsetNote.of(text)) is None


def test_the_mark_of_a_former_version_is_read() -> None:
    text = f'{{"first":7,"token":"{TOKEN}","begin":0,"day":"{DAYS[0]}"}}'
    assert Mark.of(OffsetNote.of(text)) == mark(7)
