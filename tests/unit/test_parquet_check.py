from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.parquet.check import Committed, PartitionReport, check_partition, missing_days
from streams.parquet.ranges import FileRange, Mark, WaitingFile

TOKEN = "0123456789abcdef0123456789abcdef"
Files = list[tuple[FileRange, list[int]]]


def files(*bounds: tuple[int, int]) -> Files:
    return [(FileRange("orders", 0, first, end), list(range(first, end))) for first, end in bounds]


def check(
    found: Files, offset: int | None, mark: Mark | None = None, waiting: tuple[WaitingFile, ...] = ()
) -> PartitionReport:
    committed = None if offset is None else Committed(offset, mark or Mark(0, TOKEN), offset)
    return check_partition(0, found, waiting, committed)


cuts = st.lists(st.integers(1, 200), min_size=1, max_size=8, unique=True).map(sorted)


@given(cuts)
def test_ranges_that_lie_end_to_end_are_complete(cuts: list[int]) -> None:
    bounds = list(zip([0, *cuts], cuts, strict=False))
    report = check(files(*bounds), cuts[-1])
    assert report.problems == []
    assert (report.first, report.end, report.rows) == (0, cuts[-1], cuts[-1])


@given(cuts.filter(lambda cuts: len(cuts) > 2), st.data())
def test_a_file_that_is_missing_or_there_twice_under_another_name_is_found(
    cuts: list[int], data: st.DataObject
) -> None:
    bounds = list(zip([0, *cuts], cuts, strict=False))
    which = data.draw(st.integers(1, len(bounds) - 1))
    missing = bounds[:which] + bounds[which + 1 :]
    assert "a gap" in check(files(*missing), cuts[-1]).problems[0]
    first, end = bounds[which]
    again = check(files(*bounds, (first, end + 1)), cuts[-1] + 1)
    assert any("overlap" in each for each in again.problems)


@pytest.mark.parametrize(
    ("found", "offset", "problem"),
    [
        (files((0, 10)), 12, "a gap: nothing covers offsets 10 to 11"),
        (files((0, 10)), 8, "files go on to offset 9, but only 8 is committed"),
        (files((0, 10)), None, "no offset is committed"),
        ([], 10, "no file at all"),
        ([(FileRange("orders", 0, 0, 10), [3, 11])], 10, "offset 11 is in a file of 0 to 9"),
        ([(FileRange("orders", 0, 0, 10), [3, 3])], 10, "1 records are there more than once, the first at offset 3"),
    ],
)
def test_each_disagreement_is_said_with_its_offsets(found: Files, offset: int | None, problem: str) -> None:
    assert any(problem in each for each in check(found, offset).problems)


def test_a_range_without_rows_has_no_file_and_is_no_gap() -> None:
    assert check(files((0, 10)), 15, Mark(10, "")).problems == []
    assert check([], 5, Mark(0, "")).problems == []


def test_files_that_are_committed_and_not_shown_yet_are_a_note_and_others_aside_another() -> None:
    unshown = WaitingFile("orders", 0, 10, TOKEN, "2010-12-01")
    leftover = WaitingFile("orders", 0, 10, "f" * 32, "2010-12-01")
    report = check(files((0, 10)), 15, Mark(10, TOKEN), (unshown, leftover))
    assert report.problems == []
    assert [note.split(":")[0] for note in report.notes] == [
        "1 files are committed and not shown yet",
        "1 files aside, of batches that were not committed",
    ]


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
    assert Mark.of(Mark(7, TOKEN).to_text()) == Mark(7, TOKEN)
    for text in ("", "null", "[]", "{}", '{"first": "x", "token": 1}', "reset by hand"):
        assert Mark.of(text) is None


DAYS = ("2010-12-01", "2010-12-02", "2010-12-03")


@given(st.sets(st.sampled_from(DAYS), min_size=1), st.sets(st.sampled_from(DAYS)))
def test_a_day_is_missing_if_a_fellow_names_it_and_it_is_neither_shown_nor_about_to_be(
    shown: set[str], aside: set[str]
) -> None:
    covered = FileRange("orders", 0, 10, 20)
    waiting = [WaitingFile("orders", 0, 10, TOKEN, day) for day in aside]
    waiting += [WaitingFile("orders", 0, 20, TOKEN, day) for day in DAYS]  # of the next range
    found = missing_days([(covered, day, frozenset(DAYS)) for day in shown], waiting)
    assert found == [
        (covered, f"the file of offsets 10 to 19 for {day} is missing") for day in DAYS if day not in shown | aside
    ]


def test_what_is_wrong_with_a_single_file_is_a_problem_of_its_partition() -> None:
    report = check_partition(0, files((0, 10)), (), Committed(10, Mark(0, TOKEN), 10), ["it is damaged"])
    assert report.problems == ["it is damaged"]
