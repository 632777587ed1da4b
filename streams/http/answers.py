"""What an HTTP server's answer means for a record: done, try again, wait for the server, or never."""

from __future__ import annotations

import re
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Final

from streams.failure.errors import DependencyUnavailable, PermanentError, TransientError

# RFC 9110 and RFC 6585: a time-out of the server's own, too early, too many requests.
_TRY_AGAIN: Final = frozenset({408, 425, 429})
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


def judge_answer(status: int, who: str, after: float = 0.0) -> None:
    """Take a status of success for an answer.

    Arguments:
        status: of the answer.
        who: answered, as an operator knows it.
        after: how many seconds later it wants to be asked again.

    Raises:
        DependencyUnavailable: 5xx: the server is in trouble, whatever it is asked.
        TransientError: 408, 425, 429: it asks for another attempt, later.
        PermanentError: everything else: it would say the same again. Redirections among them, since a body
            with personal data goes nowhere but where it was meant to go.
    """
    if 200 <= status < 300:
        return
    if status in _TRY_AGAIN:
        raise TransientError(f"{who} answered {status}: later", after=after)
    if status >= 500:
        raise DependencyUnavailable(who, f"it answered {status}", after=after)
    raise PermanentError(f"{who} refuses it: {status}")


def asked_to_wait(retry_after: str | None, now: float) -> float:
    """Return how many seconds a server wants to be left alone; 0 if it does not say, or not so that it is understood.

    Arguments:
        retry_after: the header of that name (RFC 9110, section 10.2.3): seconds, or a date.
        now: seconds since 1970.
    """
    text = (retry_after or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        until = parsedate_to_datetime(text)
        # "-0000" and no zone at all are read as a time without one; HTTP's dates are in GMT.
        return max(0.0, (until if until.tzinfo else until.replace(tzinfo=timezone.utc)).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return 0.0
