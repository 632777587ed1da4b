from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.stores.article import Article


def holds(article: Article) -> bool:
    return (
        article.opening - article.on_hand + article.back_ordered == article.moved
        and article.on_hand >= 0
        and article.back_ordered == sum(line.quantity for line in article.open)
        and not (article.on_hand and article.open)
    )


def test_an_order_takes_what_is_there_and_is_owed_the_rest() -> None:
    article = Article("HEART")
    article.count(5)
    article.move(8, "one")
    assert (article.on_hand, article.back_ordered, article.moved) == (0, 3, 8)
    assert [(line.order_id, line.quantity) for line in article.open] == [("one", 3)]


def test_what_comes_back_goes_to_those_who_wait_the_oldest_first() -> None:
    article = Article("HEART")
    article.move(3, "one")
    article.move(2, "two")
    article.move(-4, "back")
    assert [(line.order_id, line.quantity) for line in article.open] == [("two", 1)]
    article.move(-4, "back")
    assert (article.on_hand, article.back_ordered, article.open) == (3, 0, [])


def test_loading_the_opening_stock_again_counts_the_difference_only() -> None:
    article = Article("HEART")
    article.count(10)
    article.move(4, "one")
    article.count(12)
    assert (article.opening, article.on_hand) == (12, 8)
    article.count(3)
    assert (article.on_hand, article.back_ordered) == (0, 1), "more has left than was there, they say"
    assert holds(article)


steps = st.lists(st.tuples(st.sampled_from(["move", "count"]), st.integers(-9, 9)), max_size=30)


@given(steps)
def test_opening_less_on_hand_plus_back_ordered_is_moved_whatever_happens(steps: list[tuple[str, int]]) -> None:
    article = Article("HEART")
    for what, number in steps:
        if what == "move":
            article.move(number, "order")
        else:
            article.count(abs(number))
        assert holds(article), (what, number, article)
