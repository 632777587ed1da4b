"""One article's stock, and what movements do to it: arithmetic without a database.

For every article, always::

    opening - on hand + back-ordered = moved
"""

from __future__ import annotations

from dataclasses import dataclass, field

COUNT_CORRECTION = "stock count"
"""Instead of an order, where a new opening stock says that fewer pieces were there than have left."""


@dataclass(slots=True)
class BackOrder:
    """Pieces of an article that are owed to an order.

    Attributes:
        number: rises with each line of the article: the lowest is the oldest.
        order_id: to whom they are owed.
        quantity: how many still are; 0 once they have all been there.
    """

    number: int
    order_id: str
    quantity: int


@dataclass(slots=True)
class Article:
    """What there is of one article.

    Attributes:
        sku: its name.
        opening: pieces counted at the beginning.
        on_hand: pieces on the shelf; never below 0.
        back_ordered: pieces owed to orders, over all open lines.
        moved: pieces that orders have taken, less those that came back; shipped or owed.
        lines: how many back-order lines it has had.
        open: the lines that are open, oldest first.
        changed: the lines that are new, or changed, by number.
    """

    sku: str
    opening: int = 0
    on_hand: int = 0
    back_ordered: int = 0
    moved: int = 0
    lines: int = 0
    open: list[BackOrder] = field(default_factory=list)
    changed: dict[int, BackOrder] = field(default_factory=dict)

    def move(self, quantity: int, order_id: str) -> None:
        """Take pieces for an order; a quantity below 0 gives them back."""
        self.moved += quantity
        if quantity > 0:
            self._issue(quantity, order_id)
        else:
            self._receive(-quantity)

    def count(self, opening: int) -> None:
        """Learn that the opening stock was another than had been said."""
        difference = opening - self.opening
        self.opening = opening
        if difference > 0:
            self._receive(difference)
        else:
            self._issue(-difference, COUNT_CORRECTION)

    def _issue(self, quantity: int, order_id: str) -> None:
        """Take what is there; what is not there is owed."""
        shipped = min(quantity, self.on_hand)
        self.on_hand -= shipped
        missing = quantity - shipped
        if missing:
            self.back_ordered += missing
            self.lines += 1
            line = BackOrder(self.lines, order_id, missing)
            self.open.append(line)
            self.changed[line.number] = line

    def _receive(self, quantity: int) -> None:
        """Give what comes in to those who wait for it, the oldest first; the rest goes onto the shelf."""
        while quantity and self.open:
            line = self.open[0]
            given = min(quantity, line.quantity)
            line.quantity -= given
            self.back_ordered -= given
            quantity -= given
            self.changed[line.number] = line
            if not line.quantity:
                self.open.pop(0)
        self.on_hand += quantity
