"""Numbered payments, a known share of which no agent can process."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from streams.kafka.envelope import event_headers
from streams.topics import OUTPUTS, PAYMENT_COMPLETED

__all__ = ["OUTPUTS"]

Header = tuple[str, bytes]
DEAD_LETTERS = PAYMENT_COMPLETED + ".DLT"

# Prime, so that the bad ones are spread over all partitions: about two in a hundred.
_CYCLE = 101
_UNDECODABLE, _INVALID = 13, 57


class Fate(str, enum.Enum):
    """What becomes of a payment."""

    PROCESSED = "processed"
    UNDECODABLE = "decode"
    INVALID = "validate"


@dataclass(frozen=True, slots=True)
class Raw:
    """A record to be written, byte for byte."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Payment:
    """A record that stands for one payment; its key is unlike every other's."""

    number: int
    fate: Fate
    raw: Raw

    @property
    def key(self) -> bytes:
        """The order id, as it is on the wire."""
        assert self.raw.key is not None
        return self.raw.key


def order(number: int, *, lines: int = 1, name: str = "WHITE HANGING HEART T-LIGHT HOLDER") -> bytes:
    """Write a valid payment event of order ``o<number>``, each line worth 1.50 GBP."""
    line = f'{{"sku":"85123A","name":"{name}","quantity":6,"unitPrice":"0.25"}}'
    total = 150 * lines
    return (
        f'{{"paymentId":"p{number}","orderId":"o{number}","customerId":"17850","method":"CARD","currency":"GBP",'
        f'"amount":"{total // 100}.{total % 100:02}","paidAt":"2010-12-01T08:26:00Z","country":"United Kingdom",'
        f'"lines":[{",".join([line] * lines)}]}}'
    ).encode()


def payment(number: int, partitions: int = 4) -> Payment:
    """Make the payment of this number, good or bad."""
    value, fate = order(number), Fate.PROCESSED
    if number % _CYCLE == _UNDECODABLE:
        value, fate = value[:-7] + b"\xff", Fate.UNDECODABLE
    elif number % _CYCLE == _INVALID:
        value, fate = value.replace(b'"amount":"1.50"', b'"amount":"1.51"'), Fate.INVALID
    headers = event_headers(
        id=f"p{number}", source="/shop", type="shop.payment.completed.v1", time="2010-12-01T08:26:00Z",
        subject=f"o{number}",
    )  # fmt: skip
    return Payment(number, fate, Raw(number % partitions, b"o%d" % number, value, tuple(headers)))


def payments(numbers: Iterable[int], partitions: int = 4) -> list[Payment]:
    """Make the payments of these numbers."""
    return [payment(number, partitions) for number in numbers]


def raws(of: Sequence[Payment]) -> list[Raw]:
    """Give their records."""
    return [each.raw for each in of]
