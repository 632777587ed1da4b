from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from models.analytics import SaleFact, SaleLine
from streams.stores.sales import folded

NOON = datetime(2010, 12, 1, 12, 0, tzinfo=timezone.utc)
KOREA = timezone(timedelta(hours=9))

money = st.decimals(0, 10**10, places=6)
facts = st.lists(
    st.builds(
        lambda number, kind, second, country, price: SaleFact(
            kind, f"{number}", "o", NOON + timedelta(seconds=second), country, "GBP", price, 3,
            (SaleLine("A", 1, price), SaleLine("B", 2, price)),
        ),
        st.integers(), st.sampled_from(["sale", "refund"]), st.integers(-200, 200), st.sampled_from("XY"), money,
    ),
    max_size=30,
)  # fmt: skip


def test_a_window_is_the_minute_of_the_event_in_utc() -> None:
    for second, minute in ((0, 0), (59, 0), (60, 1), (-1, -1)):
        at = (NOON + timedelta(seconds=second)).astimezone(KOREA)
        (key,) = folded([SaleFact("sale", "f", "o", at, "X", "GBP", Decimal(1), 1, ())])[0]
        assert key[0] == int(NOON.timestamp()) + 60 * minute


def test_the_last_moment_of_a_minute_is_in_it_however_far_away_the_year_is() -> None:
    at = datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone.utc)
    ((minute, *_),) = folded([SaleFact("sale", "f", "o", at, "X", "GBP", Decimal(1), 1, ())])[0]
    assert datetime.fromtimestamp(minute, timezone.utc) == at.replace(second=0, microsecond=0)


@given(facts)
def test_nothing_is_lost_or_rounded_when_facts_are_added_up(facts: list[SaleFact]) -> None:
    totals, articles = folded(facts)
    sold = sum((fact.revenue for fact in facts if fact.kind == "sale"), Decimal(0))
    assert Decimal(sum(each[2] for each in totals.values())).scaleb(-6) == sold
    assert sum(each[0] + each[3] for each in totals.values()) == len(facts)
    assert sum(each[1] + each[4] for each in articles.values()) == 3 * len(facts)


@given(facts, st.integers(0, 30))
def test_two_halves_add_up_to_the_whole(facts: list[SaleFact], at: int) -> None:
    whole = folded(facts)
    for side in (0, 1):
        halves = folded(facts[:at])[side], folded(facts[at:])[side]
        added = {
            key: [
                one + other for one, other in zip(halves[0].get(key, [0] * 6), halves[1].get(key, [0] * 6), strict=True)
            ]
            for key in halves[0] | halves[1]
        }
        assert added == whole[side]
