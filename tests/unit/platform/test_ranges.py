from __future__ import annotations

from itertools import combinations

import pytest

from streams.platform.ranges import known_to, note_days, noted_days

DAYS = [f"2010-12-{day:02}" for day in range(1, 8)]


def noted_by(day: str, days: list[str]) -> frozenset[str]:
    return noted_days(note_days(known_to(day, days)))


def test_the_first_day_of_a_range_knows_all_as_the_mark_names_it() -> None:
    assert noted_by(DAYS[0], DAYS) == frozenset(DAYS)
    assert noted_by("2010-12-01", ["2010-12-01"]) == frozenset(["2010-12-01"])


@pytest.mark.parametrize("lost", [set(each) for count in range(1, len(DAYS)) for each in combinations(DAYS, count)])
def test_whichever_files_of_a_range_are_lost_one_of_them_is_missed(lost: set[str]) -> None:
    there = set(DAYS) - lost
    known = frozenset[str]().union(*(noted_by(day, DAYS) for day in there))
    assert known - there
    if DAYS[0] in there:
        assert known - there == lost


def test_notes_do_not_grow_with_the_square_of_the_days() -> None:
    days = [f"{year}-{month:02}-01" for year in range(2000, 2100) for month in range(1, 13)]
    assert sum(len(note_days(known_to(day, days))[b"paystream.days"]) for day in days) < 50 * len(days)
