"""What the four who hear of an order have made of it, compared with what went in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from streams.demo.account import differences, some
from streams.demo.expected import OPENING, ByCountry, Due, Expected, Figures, Row, added_up
from streams.stores.article import Article
from streams.stores.sales_report import Sales


@dataclass(frozen=True, slots=True)
class Received:
    """A letter as it came.

    Attributes:
        recipient: the address.
        subject: its first line.
        texts: what it says, in each form that it has: plain, HTML.
    """

    recipient: str
    subject: str
    texts: tuple[str, ...]

    @property
    def is_korean(self) -> bool:
        """Tell the language by the subject."""
        return any("가" <= letter <= "힣" for letter in self.subject)

    def names(self, order_id: str) -> bool:
        """Tell whether its subject names an order."""
        return f" {' '.join(order_id.split())} " in f" {self.subject} "

    def states(self, amount: str) -> bool:
        """Tell whether the amount is in each form of it."""
        wanted = re.compile(rf"(?<!\w){re.escape(amount)}(?!\d)")
        return bool(self.texts) and all(wanted.search(text) for text in self.texts)


@dataclass(frozen=True, slots=True)
class Effects:
    """What was found in the database, in the mailbox and in the files.

    Attributes:
        stock: of each article.
        sales: by country.
        letters: all that have come, repeats included.
        rows: of the platform's files, as often as they are there.
        files: how many files there are.
    """

    stock: Sequence[Article]
    sales: Sequence[Sales]
    letters: Sequence[Received]
    rows: Counter[Row]
    files: int

    @property
    def moved(self) -> Counter[str]:
        """Pieces by article."""
        return Counter({each.sku: each.moved for each in self.stock})

    @property
    def owed(self) -> int:
        """Pieces that could not be delivered yet."""
        return sum(each.back_ordered for each in self.stock)

    def problems(self, expected: Expected) -> tuple[str, ...]:
        """Say in words where this is not what follows from the orders; nothing if all of this holds:

        - the pieces moved are the orders', and lead from the opening stock of each article to what is there, or owed,
        - orders, revenue, refunds and what was refunded, in each country, are the orders',
        - every letter has reached whom it should, and states the order's amount,
        - the files have the orders and their amounts, as often as they were published, and add up to the same sales.
        """
        counted = _figures(self.sales)
        return (
            *self._of_stock(expected),
            *_unequal("analytics", counted, "the orders", expected.sales),
            *self._of_letters(expected),
            *differences("files", _named(expected.rows), _named(self.rows)),
            *_unequal("files", added_up(self.rows), "analytics", counted),
        )

    def _of_stock(self, expected: Expected) -> Iterator[str]:
        moved, wanted = self.moved, expected.moved
        if other := [sku for sku in {*moved, *wanted} if moved[sku] != wanted[sku]]:
            yield f"stock: {moved.total():,} pieces were moved, but orders have {wanted.total():,} ({some(other)})"
        if wrong := [_stock_of(each) for each in self.stock if not _is_sound(each)]:
            yield f"stock: {len(wrong)} articles have not what is left after what was moved ({some(wrong)})"

    def _of_letters(self, expected: Expected) -> Iterator[str]:
        order_of = _finder(expected.letters)
        about: dict[str, list[Received]] = {}
        for letter in self.letters:
            about.setdefault(order_of(letter), []).append(letter)
        due = Counter(f"{each.order_id} to {each.recipient}" for each in expected.letters)
        sent = Counter(f"{order} to {letter.recipient}" for order, letters in about.items() for letter in letters)
        yield from differences("letters", due, sent)
        # Whoever has got it: a letter may have two faults.
        wrong = [
            f"{each.order_id}: {each.amount}"
            for each in expected.letters
            if (found := about.get(each.order_id)) and not any(letter.states(each.amount) for letter in found)
        ]
        if wrong:
            yield f"letters: {len(wrong)} do not state the amount ({some(wrong)})"


def _stock_of(article: Article) -> str:
    return (
        f"{article.sku}: {article.opening:,} - {article.moved:,} moved, but {article.on_hand:,} on hand "
        f"and {article.back_ordered:,} owed"
    )


def _is_sound(article: Article) -> bool:
    """Tell whether opening - on hand + owed = moved, and nothing is owed while there is some."""
    left = OPENING - article.moved
    return (article.opening, article.on_hand, article.back_ordered) == (OPENING, max(left, 0), max(-left, 0))


def _figures(sales: Sequence[Sales]) -> ByCountry:
    return {
        (each.country or "", each.currency): Figures(**{name: getattr(each, name) for name in Figures._fields})
        for each in sales
    }


def _unequal(where: str, there: ByCountry, whose: str, wanted: ByCountry) -> Iterator[str]:
    """Count the figures that differ, and name one."""
    found = [
        f"{name.replace('_', ' ')} of {key[0]} in {key[1]}: {has:,} rather than {should:,}"
        for key in sorted({*there, *wanted})
        for name, has, should in zip(
            Figures._fields, there.get(key, Figures()), wanted.get(key, Figures()), strict=True
        )
        if has != should
    ]
    if found:
        more = ", …" if len(found) > 1 else ""
        yield f"{where}: {len(found)} figures are not those of {whose} ({found[0]}{more})"


def _named(rows: Counter[Row]) -> Counter[str]:
    named: Counter[str] = Counter()
    for row, times in rows.items():
        named[str(row)] += times
    return named


def _finder(due: Sequence[Due]) -> Callable[[Received], str]:
    """Return what finds the order that a letter is about; of an order that nobody expects, the whole subject."""
    by_recipient: dict[str, list[str]] = {}
    for each in due:
        by_recipient.setdefault(each.recipient, []).append(each.order_id)
    known = {each.order_id for each in due}

    def order_of(letter: Received) -> str:
        own = (order for order in by_recipient.get(letter.recipient, ()) if letter.names(order))
        anybodys = (word for word in letter.subject.split() if word in known)
        return next(own, None) or next(anybodys, None) or letter.subject

    return order_of
