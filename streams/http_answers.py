"""What an HTTP server's answer means for a record: done, try again, wait for the server, or never."""

from __future__ import annotations

from streams.failure.errors import DependencyUnavailable, PermanentError, TransientError

# RFC 9110 and RFC 6585: a time-out of the server's own, too early, too many requests.
_TRY_AGAIN = frozenset({408, 425, 429})


def judge_answer(status: int, who: str) -> None:
    """Take a status of success for an answer.

    Arguments:
        status: of the answer.
        who: answered, as an operator knows it.

    Raises:
        DependencyUnavailable: 5xx: the server is in trouble, whatever it is asked.
        TransientError: 408, 425, 429: it asks for another attempt, later.
        PermanentError: everything else: it would say the same again. Redirections among them, since a body
            with personal data goes nowhere but where it was meant to go.
    """
    if 200 <= status < 300:
        return
    if status in _TRY_AGAIN:
        raise TransientError(f"{who} answered {status}: later")
    if status >= 500:
        raise DependencyUnavailable(who, f"it answered {status}")
    raise PermanentError(f"{who} refuses it: {status}")
