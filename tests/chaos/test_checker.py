"""The checker finds every loss, repeat and reordering that is planted, and accepts every history without one."""

from __future__ import annotations

import dataclasses
import json
import random

from hypothesis import given
from hypothesis import strategies as st

from chaos.checker import Anomaly, check
from chaos.history import Acknowledged, Effect, Event, Letter, Place, Produced, as_lines, effect_id
from chaos.ledger import LETTERS, Fate, Ledger

_FATES = (Fate.OK, Fate.OK, Fate.TRANSIENT, Fate.DEPENDENCY, Fate.HANG, *LETTERS)


@st.composite
def histories(draw: st.DrawFn, smallest: int = 0) -> list[Event]:
    """Draw a history in which all is well; records of different keys may end in any order."""
    chance = draw(st.randoms(use_true_random=False))
    drawn = draw(
        st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from(_FATES), st.booleans()),
            min_size=smallest,
            max_size=25,
        )
    )
    produced: list[Produced] = []
    for number, (partition, key, fate, twice) in enumerate(drawn):
        for _ in range(1 + twice):
            offset = len(produced) * 2  # a transaction's marker takes an offset too
            produced.append(Produced(Place(partition, offset), f"p{number}", f"k{partition}-{key}", fate, f"d{number}"))
    history: list[Event] = [*produced, *(Acknowledged(each.source, each.id) for each in produced)]
    history += _results(produced, chance)
    chance.shuffle(history)
    return history


def _results(produced: list[Produced], chance: random.Random) -> list[Event]:
    """End every record as its fate says, keys in any order, each key's records in theirs."""
    queues: dict[str, list[Produced]] = {}
    for each in produced:
        queues.setdefault(each.key, []).append(each)
    results: list[Event] = []
    while queues:
        key = chance.choice(sorted(queues))
        record = queues[key].pop(0)
        if not queues[key]:
            del queues[key]
        at = Place(record.source.partition, len(results))
        if record.fate in LETTERS:
            results.append(Letter(at, record.source, record.id, record.key, record.digest))
        else:
            results.append(Effect(at, record.source, effect_id(record.id), record.key))
    return results


def _ended(history: list[Event]) -> list[Effect | Letter]:
    return [each for each in history if isinstance(each, (Effect, Letter))]


def _end_of(history: list[Event], partition: int) -> int:
    return 1 + max((each.at.offset for each in _ended(history) if each.at.partition == partition), default=0)


@given(histories())
def test_a_history_in_which_all_is_well_is_accepted(history: list[Event]) -> None:
    verdict = check(history)
    assert verdict.exact, str(verdict)
    assert verdict.effects + verdict.letters == verdict.produced


@given(histories(smallest=1), st.data())
def test_every_loss_is_found(history: list[Event], data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.sampled_from(_ended(history)), min_size=1))
    verdict = check([each for each in history if each not in gone])
    assert {each.source for each in verdict.findings} == {each.source for each in gone}
    assert verdict.count(Anomaly.LOST) == len(verdict.findings) == len(gone)


@given(histories(smallest=1), st.data())
def test_every_repeat_is_found(history: list[Event], data: st.DataObject) -> None:
    again = data.draw(st.sampled_from(_ended(history)))
    repeat = dataclasses.replace(again, at=Place(again.at.partition, _end_of(history, again.at.partition)))
    verdict = check([*history, repeat])
    assert [(each.anomaly, each.source) for each in verdict.findings] == [(Anomaly.DOUBLED, again.source)]


@given(histories(smallest=2), st.data())
def test_every_reordering_is_found(history: list[Event], data: st.DataObject) -> None:
    kinds: dict[tuple[type, str], list[Effect | Letter]] = {}
    for each in sorted(_ended(history), key=lambda each: each.at):
        kinds.setdefault((type(each), each.key), []).append(each)
    pairs = [(a, b) for group in kinds.values() for index, a in enumerate(group) for b in group[index + 1 :]]
    if not pairs:
        return
    one, other = data.draw(st.sampled_from(pairs))
    swapped = [dataclasses.replace(one, at=other.at), dataclasses.replace(other, at=one.at)]
    verdict = check([*(each for each in history if each not in (one, other)), *swapped])
    assert one.source in {each.source for each in verdict.findings}
    assert {each.anomaly for each in verdict.findings} == {Anomaly.REORDERED}


@given(histories(smallest=1), st.data())
def test_an_effect_and_a_letter_of_one_record_are_found(history: list[Event], data: st.DataObject) -> None:
    record = data.draw(st.sampled_from([each for each in history if isinstance(each, Produced)]))
    at = Place(record.source.partition, _end_of(history, record.source.partition))
    second: Event = (
        Effect(at, record.source, effect_id(record.id), record.key)
        if record.fate in LETTERS
        else Letter(at, record.source, record.id, record.key, record.digest)
    )
    verdict = check([*history, second])
    assert [each.source for each in verdict.findings if each.anomaly is Anomaly.BOTH] == [record.source]
    # The second one may also stand after a later record's.
    assert {each.anomaly for each in verdict.findings} <= {Anomaly.BOTH, Anomaly.REORDERED}


@given(histories(smallest=1), st.data())
def test_an_acknowledged_payment_that_is_not_in_the_source_is_lost(history: list[Event], data: st.DataObject) -> None:
    record = data.draw(st.sampled_from([each for each in history if isinstance(each, Produced)]))
    verdict = check([each for each in history if isinstance(each, Acknowledged) or each.source != record.source])
    assert [(each.anomaly, each.source) for each in verdict.findings] == [(Anomaly.LOST, record.source)]


@given(histories(smallest=1), st.data())
def test_what_nobody_produced_or_nobody_wrote_like_this_is_unexpected(
    history: list[Event], data: st.DataObject
) -> None:
    one = data.draw(st.sampled_from(_ended(history)))
    others: list[Effect | Letter] = [
        dataclasses.replace(one, key="another"),
        dataclasses.replace(one, ce_id="x") if isinstance(one, Effect) else dataclasses.replace(one, digest="x"),
        dataclasses.replace(one, at=Place(one.at.partition + 1, one.at.offset)),
    ]
    forged = data.draw(st.sampled_from(others))
    assert check([*(each for each in history if each is not one), forged]).count(Anomaly.UNEXPECTED)
    stranger = dataclasses.replace(one, source=Place(7, 7), at=Place(7, 7))
    assert check([*history, stranger]).count(Anomaly.UNEXPECTED) == 1


def test_a_fate_that_was_not_fulfilled_is_unexpected() -> None:
    place = Place(0, 0)
    letter = Letter(place, place, "p1", "k", "d")
    verdict = check([Produced(place, "p1", "k", Fate.TRANSIENT, "d"), letter])
    assert [each.anomaly for each in verdict.findings] == [Anomaly.UNEXPECTED]


def test_a_payment_produced_twice_has_two_effects_with_one_id() -> None:
    first, second = Place(0, 0), Place(0, 1)
    history: list[Event] = [Produced(each, "p1", "k", Fate.OK, "d") for each in (first, second)]
    both = [Effect(each, each, effect_id("p1"), "k") for each in (first, second)]
    assert check([*history, *both]).exact
    assert check([*history, both[0]]).count(Anomaly.LOST) == 1


def test_a_history_can_be_written_as_lines() -> None:
    place = Place(0, 5)
    (line,) = as_lines([Produced(place, "p1", "k", Fate.OK, "d")]).splitlines()
    assert json.loads(line) == {
        "event": "Produced", "source": {"partition": 0, "offset": 5}, "id": "p1", "key": "k", "fate": "ok",
        "digest": "d",
    }  # fmt: skip


def test_a_ledger_writes_the_same_for_the_same_seed_and_knows_every_fate() -> None:
    one, other = Ledger(7), Ledger(7)
    assert one.write(0, 2_000) == [*other.write(0, 500), *other.write(0, 1_500)]
    assert {fate for fate in Fate if fate in one.fates.values()} >= {Fate.OK, Fate.TRANSIENT, *LETTERS}
    one.plant(3, Fate.DIE)
    one.write(3, 1)
    assert one.fates["p3-1"] is Fate.DIE
