from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from streams.failure.budget import BudgetLimits, DeadLetterBudget

# Limits that the other one never reaches.
IN_A_ROW = BudgetLimits(consecutive=3, share=1.0, window=1_000)
SHARE = BudgetLimits(consecutive=1_000, share=0.5, window=10)


def spend(budget: DeadLetterBudget, outcomes: str) -> list[str]:
    """Put records through a budget, ``.`` for one that passes and ``x`` for one that fails; return the refusals."""
    refusals = []
    for outcome in outcomes:
        if outcome == ".":
            budget.passed()
        elif (refusal := budget.spend()) is not None:
            refusals.append(refusal)
    return refusals


def test_so_many_letters_in_a_row_are_granted_and_the_next_is_refused_with_the_numbers() -> None:
    assert spend(DeadLetterBudget(IN_A_ROW), "xxx") == []
    assert spend(DeadLetterBudget(IN_A_ROW), "xxxx") == ["3 records in a row were dead-lettered (the limit is 3)"]


def test_one_that_passes_starts_the_count_anew() -> None:
    assert spend(DeadLetterBudget(IN_A_ROW), "xxx.xxx.xxx") == []
    assert len(spend(DeadLetterBudget(IN_A_ROW), "xxx.xxxx")) == 1


def test_a_refusal_spends_nothing_and_stays_a_refusal() -> None:
    budget = DeadLetterBudget(IN_A_ROW)
    assert len(spend(budget, "xxxxxx")) == 3
    assert spend(budget, ".x") == []


def test_the_share_is_not_judged_before_there_are_as_many_records_as_the_window() -> None:
    assert spend(DeadLetterBudget(SHARE), "x" * 9) == []


def test_over_the_share_of_the_window_a_letter_is_refused_with_the_numbers() -> None:
    budget = DeadLetterBudget(SHARE)
    assert spend(budget, ".x" * 5) == []
    (refusal,) = spend(budget, "x")
    assert refusal == "6 of the last 10 records would be dead letters (at most 50%)"


def test_what_has_left_the_window_is_forgotten() -> None:
    budget = DeadLetterBudget(SHARE)
    spend(budget, "." * 5 + "x" * 5)
    assert len(spend(budget, "x")) == 1
    assert spend(budget, "." * 10 + "x" * 5) == []


def test_of_one_partys_letters_in_a_row_one_counts() -> None:
    budget = DeadLetterBudget(IN_A_ROW)
    assert [budget.spend("customer 1") for _ in range(500)] == [None] * 500
    assert [budget.spend("customer 2"), budget.spend()] == [None, None]
    assert budget.spend("customer 1") is None
    assert budget.spend("customer 3") == "3 records in a row were dead-lettered (the limit is 3)"


def test_of_one_partys_letters_among_others_one_counts_for_the_share() -> None:
    budget = DeadLetterBudget(SHARE)
    for _ in range(500):
        assert budget.spend("customer 1") is None
        budget.passed()
    assert len(spend(budget, "xxxxxx")) == 1


def test_a_party_that_was_not_to_blame_for_long_is_forgotten_and_the_others_are_not() -> None:
    budget = DeadLetterBudget(BudgetLimits(consecutive=100, share=1.0, window=2))
    for culprit in ("a", "b", "a", "c", "a"):
        assert budget.spend(culprit) is None
    assert set(budget._blamed) == {"a", "c"}


def test_if_everybodys_letters_fail_it_is_as_with_nobodys() -> None:
    budget = DeadLetterBudget(IN_A_ROW)
    refusals = [budget.spend(f"customer {number}") for number in range(5)]
    assert [each is None for each in refusals] == [True, True, True, False, False]


def test_one_lane_alone_in_a_thousand_bad_records_does_not_halt_by_the_defaults() -> None:
    assert spend(DeadLetterBudget(BudgetLimits(100, 0.5, 1_000)), ("." * 90 + "x" * 10) * 100) == []


# -- whatever comes ------------------------------------------------------------------------------------

limits = st.builds(
    BudgetLimits,
    consecutive=st.integers(1, 8),
    share=st.sampled_from([0.01, 0.1, 0.25, 1 / 3, 0.5, 0.75, 1.0]),
    window=st.integers(1, 12),
).filter(lambda each: each.share * each.window >= 1)  # less would mean: no letter at all
whole_shares = limits.filter(lambda each: (each.share * each.window).is_integer())
outcomes = st.text(alphabet=".x", max_size=120)


def granted(limits: BudgetLimits, outcomes: str) -> str:
    """Return the records that were settled: all that pass, and the letters that were granted."""
    budget = DeadLetterBudget(limits)
    return "".join(each for each in outcomes if not spend(budget, each))


@given(limits, outcomes)
def test_there_are_never_more_letters_in_a_row_than_allowed(limits: BudgetLimits, outcomes: str) -> None:
    runs = [len(list(run)) for kind, run in groupby(granted(limits, outcomes)) if kind == "x"]
    assert max(runs, default=0) <= limits.consecutive


def _overspent(limits: BudgetLimits, outcomes: str) -> list[str]:
    """Return the windows that were full before a letter was granted and then held more than their share."""
    settled = granted(limits, outcomes)
    windows = [
        settled[end - limits.window : end]
        for end in range(limits.window + 1, len(settled) + 1)
        if settled[end - 1] == "x"
    ]
    return [window for window in windows if window.count("x") > limits.share * limits.window + 1e-9]


@given(whole_shares, outcomes)
def test_once_the_window_is_full_no_letter_takes_it_over_its_share(limits: BudgetLimits, outcomes: str) -> None:
    assert _overspent(limits, outcomes) == []


@given(limits, outcomes)
def test_nor_does_one_where_the_share_is_not_a_whole_number_of_records(limits: BudgetLimits, outcomes: str) -> None:
    assert _overspent(limits, outcomes) == []


@given(st.integers(1, 12), outcomes)
def test_a_share_of_1_never_halts(window: int, outcomes: str) -> None:
    assert granted(BudgetLimits(1_000, 1.0, window), outcomes) == outcomes


@given(limits, outcomes)
def test_nothing_is_refused_without_a_limit_being_reached(limits: BudgetLimits, outcomes: str) -> None:
    budget, settled = DeadLetterBudget(limits), ""
    for each in outcomes:
        if not spend(budget, each):
            settled += each
            continue
        in_a_row = len(settled) - len(settled.rstrip("x"))
        recent = settled[-limits.window :]
        full = len(recent) + 1 >= limits.window
        assert in_a_row == limits.consecutive or (full and recent.count("x") + 1 > limits.share * limits.window)


@given(limits, outcomes)
def test_records_that_pass_pay_every_debt_off(limits: BudgetLimits, outcomes: str) -> None:
    budget = DeadLetterBudget(limits)
    spend(budget, outcomes + "." * limits.window)
    assert spend(budget, "x") == []
