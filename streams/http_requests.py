"""What our HTTP requests say of themselves."""

from __future__ import annotations

import hashlib
import re
from importlib.metadata import version
from typing import Final

USER_AGENT: Final = f"paystream/{version('paystream')}"
"""Who asks, so that whoever is asked knows whom to write to."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_:-]{1,255}")


def header_id(name: str) -> str:
    """Write a record's id as a header that every receiver reads alike: always the same for the same id.

    An id of other characters is sent as a hash. Blanks at its ends are stripped on the way and what is not ASCII is
    decoded in more than one way; a dot separates the parts of what a webhook's signature covers.
    """
    return name if _PLAIN.fullmatch(name) else hashlib.sha256(name.encode()).hexdigest()[:40]
