"""A notification request."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Final

from models.notification import NotificationRequest
from models.payment import PaymentCompleted

REQUEST: Final = NotificationRequest(
    "pay-1:order-notification", "536365", "17850", PaymentCompleted.template, "GBP", Decimal("1139.12"),
    datetime(2010, 12, 1, 8, 26, tzinfo=timezone.utc), "United Kingdom",
)  # fmt: skip
