"""What events about an order have in common: its lines, and an amount that is their sum.

What breaks the contract raises :class:`pydantic.ValidationError`, whose messages name no values that may be
personal.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from models.money import EXACT, Amount, Currency, is_payable, minor_unit, rounded
from models.wire import WIRE, Identifier, Label

# A Java int, which is what a Jackson producer has. Strict: JSON's true is not one piece.
Quantity = Annotated[int, Field(strict=True, gt=0, le=2**31 - 1)]

# The longest invoice of the Online Retail data set has 1,114 lines.
MAX_LINES = 10_000

SaleKind = Literal["sale", "refund"]
"""Whether money comes in or goes back."""
StockSign = Literal[1, 0, -1]
"""Whether pieces leave the shelf, stay where they are, or come back to it."""

_FACTS: Final = ("platform_kind", "sale_kind", "template", "stock_sign")
# It is a part of ids, which have 255 characters, 128 of them the event's own.
_KIND: Final = re.compile(r"[^:\x00-\x1f\x7f]{1,64}")

Pieces = Annotated[int, Field(strict=True, ge=-(2**31) * MAX_LINES, le=2**31 * MAX_LINES)]
"""What an order can come to of one article, or of all, either way: sums of hundreds of thousands fit into 64 bits."""

_fma = EXACT.fma
_ZERO = Decimal(0)


class Line(BaseModel):
    """One line of an order. A unit price of zero is a gift."""

    model_config = WIRE

    sku: Identifier
    name: Label
    quantity: Quantity
    unit_price: Amount


class OrderEvent(BaseModel):
    """Something that happened to an order as a whole, and to money.

    The amount is positive and equals the sum of the lines, rounded half up to the currency's minor unit.

    What follows from it, each event declares of itself:

    Attributes:
        platform_kind: what it is called: on the platform, and in the ids of all that follows from it. No other event
            is called so, and it has no colon.
        sale_kind: whether analytics counts a sale or a refund.
        template: by which the customer is told.
        stock_sign: which way the pieces go.
    """

    model_config = WIRE

    platform_kind: ClassVar[str]
    sale_kind: ClassVar[SaleKind]
    template: ClassVar[str]
    stock_sign: ClassVar[StockSign]

    payment_id: Identifier | None
    order_id: Identifier
    customer_id: Identifier | None = None
    """None for a guest."""
    method: Identifier | None = None
    """How it was paid (CARD, INVOICE…); the shop's list grows without asking its consumers."""
    currency: Currency
    amount: Amount
    country: Identifier
    # Not min_length=1, which would add "too few" to the error of every line that is wrong.
    lines: Annotated[tuple[Line, ...], Field(max_length=MAX_LINES, json_schema_extra={"minItems": 1})]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse an event that leaves open what follows from it: when it is declared, not when the first one comes."""
        undeclared = [name for name in _FACTS if not hasattr(cls, name)]
        if undeclared:
            raise TypeError(f"{cls.__name__} does not declare {', '.join(undeclared)}")
        if not _KIND.fullmatch(cls.platform_kind):
            raise TypeError(f"{cls.__name__}.platform_kind must be text of 1 to 64 characters without a colon")

    @property
    def event_id(self) -> str:
        """What names the event among those of its kind, also where it comes without an envelope."""
        raise NotImplementedError

    @property
    def occurred_at(self) -> datetime.datetime:
        """When it happened, in UTC."""
        raise NotImplementedError

    @property
    def takes_back(self) -> bool:
        """Whether its amount is to be taken off."""
        return self.sale_kind == "refund"

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        total = _ZERO
        for line in self.lines:
            total = _fma(line.quantity, line.unit_price, total)
        payable = rounded(total, self.currency)
        if self.amount != payable or not payable:
            raise _contradiction(self, payable)
        # The same sum with all the digits of its currency, so that all outputs write it alike.
        object.__setattr__(self, "amount", payable)
        return self


def by_article(lines: Iterable[Line]) -> dict[str, tuple[int, Decimal]]:
    """Add lines of the same article together: pieces and price, exactly; in the order in which they come."""
    added: dict[str, tuple[int, Decimal]] = {}
    for line in lines:
        pieces, price = added.get(line.sku, (0, _ZERO))
        added[line.sku] = pieces + line.quantity, _fma(line.unit_price, line.quantity, price)
    return added


def _contradiction(event: OrderEvent, payable: Decimal) -> PydanticCustomError:
    if not event.lines:
        return PydanticCustomError("no_lines", "there must be at least one line")
    if not event.amount:
        return PydanticCustomError("amount_zero", "amount must be greater than 0")
    if not is_payable(event.amount, event.currency):
        return PydanticCustomError("amount_digits", "amount has more fraction digits than its currency")
    if not payable:
        return PydanticCustomError("amount_for_nothing", "amount is above 0, and the sum of the lines is 0")
    return _rounded_otherwise(event, payable) or PydanticCustomError("amount_sum", "amount is not the sum of the lines")


def _rounded_otherwise(event: OrderEvent, payable: Decimal) -> PydanticCustomError | None:
    """Say by how much an amount differs, if no more than rounding can move a sum; else None.

    The difference, and neither the amount nor the sum: what an order came to is for who may see its payload.
    """
    difference = EXACT.subtract(event.amount, payable)
    # Half a minor unit for each line that was rounded by itself, and a whole one for a sum that was cut off.
    if 2 * abs(difference) > (len(event.lines) + 2) * minor_unit(event.currency):
        return None
    one_by_one = _ZERO
    for line in event.lines:
        price = rounded(EXACT.multiply(line.unit_price, line.quantity), event.currency)
        one_by_one = EXACT.add(one_by_one, price)
    return PydanticCustomError(
        "amount_rounding",
        "amount is not the sum of the lines but {difference} {currency} {which}, {how}: "
        "lines are added up exactly, and the sum is rounded once, half up",
        {
            "difference": format(abs(difference), "f"),
            "currency": event.currency,
            "which": "more" if difference > 0 else "less",
            "how": "as if each line were rounded" if one_by_one == event.amount else "which looks like rounding",
        },
    )
