"""A customer, as far as telling them goes."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Channel(str, enum.Enum):
    """How a customer wants to be told."""

    EMAIL = "email"
    WEBHOOK = "webhook"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Customer:
    """How to tell one customer. The personal parts stay out of logs and of its repr.

    Attributes:
        customer_id: as in the orders.
        channel: how.
        address: an e-mail address or a URL; empty with no channel.
        locale: language of the letters, ``en`` or ``ko``, with a region if there is one (``en_GB``); empty with
            no channel.
        secret: signs webhooks; empty for everybody else.
        gone: whether the webhook has said that it is gone for good (410), and is not asked any more.
    """

    customer_id: str
    channel: Channel
    address: str = field(repr=False)
    locale: str
    secret: str = field(default="", repr=False)
    gone: bool = False
