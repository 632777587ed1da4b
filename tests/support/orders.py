"""Platform records as they are on the wire."""

from __future__ import annotations

import json
from typing import Any, Final

ORDER: Final[dict[str, Any]] = {
    "kind": "order", "recordId": "pay-1:order-platform", "paymentId": "pay-1", "orderId": "1", "customerId": None,
    "method": "CARD", "currency": "GBP", "amount": "5.00", "occurredAt": "2010-12-01T08:26:00Z", "country": "Eire",
    "itemCount": 1, "units": 2,
    "lines": [{"sku": "HEART", "name": "A heart", "quantity": 2, "unitPrice": "2.50", "total": "5.00"}],
}  # fmt: skip


def order(number: int, day: int = 1) -> bytes:
    """Return the record of a numbered order of a day of December."""
    moment = f"2010-12-{day:02}T08:26:00Z"
    body = {**ORDER, "recordId": f"pay-{number}:order-platform", "orderId": f"{number}", "occurredAt": moment}
    return json.dumps(body).encode()
