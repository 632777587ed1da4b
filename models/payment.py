"""The payment event: what the shop writes when an order is paid.

What breaks the contract raises :class:`pydantic.ValidationError`, whose messages name no values that may be
personal.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from models.money import EXACT, Amount, Currency, is_payable, rounded
from models.wire import WIRE, Identifier, Label, Moment

# A Java int, which is what a Jackson producer has. Strict: JSON's true is not one piece.
Quantity = Annotated[int, Field(strict=True, gt=0, le=2**31 - 1)]

# The longest invoice of the Online Retail data set has 1,114 lines.
MAX_LINES = 10_000

_fma = EXACT.fma
_ZERO = Decimal(0)


class Line(BaseModel):
    """One line of an order. A unit price of zero is a gift."""

    model_config = WIRE

    sku: Identifier
    name: Label
    quantity: Quantity
    unit_price: Amount


class PaymentCompleted(BaseModel):
    """A completed payment of one order.

    The amount is positive and equals the sum of the lines, rounded half up to the currency's minor unit.
    """

    model_config = WIRE

    payment_id: Identifier
    order_id: Identifier
    customer_id: Identifier | None = None
    """None for a guest."""
    method: Identifier
    """How it was paid (CARD, INVOICE…); the shop's list grows without asking its consumers."""
    currency: Currency
    amount: Amount
    paid_at: Moment
    country: Identifier
    # Not min_length=1, which would add "too few" to the error of every line that is wrong.
    lines: Annotated[tuple[Line, ...], Field(max_length=MAX_LINES, json_schema_extra={"minItems": 1})]

    @model_validator(mode="after")
    def _adds_up(self) -> PaymentCompleted:
        total = _ZERO
        for line in self.lines:
            total = _fma(line.quantity, line.unit_price, total)
        payable = rounded(total, self.currency)
        if self.amount != payable or not payable:
            raise _contradiction(self)
        # The same sum with all the digits of its currency, so that all outputs write it alike.
        object.__setattr__(self, "amount", payable)
        return self


def _contradiction(payment: PaymentCompleted) -> PydanticCustomError:
    if not payment.lines:
        return PydanticCustomError("no_lines", "there must be at least one line")
    if not payment.amount:
        return PydanticCustomError("amount_zero", "amount must be greater than 0")
    if not is_payable(payment.amount, payment.currency):
        return PydanticCustomError("amount_digits", "amount has more fraction digits than its currency")
    return PydanticCustomError("amount_sum", "amount is not the sum of the lines")
