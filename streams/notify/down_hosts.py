"""Which customers' hosts are down, or put us off each time, so that others' messages do not wait for theirs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Final

from streams.failure.errors import PermanentError, RecordError
from streams.notify.webhook import NeverAsked, WebhookDown

_MESSAGES: Final = 3
# About as long as one message is tried with the defaults: partitions work side by side, and a host that restarts
# fails three of them within a second.
_SECONDS: Final = 15.0
_TRY_EVERY: Final = 60.0


@dataclass(slots=True)
class _Failing:
    """A host that has not answered since some time."""

    since: float
    tried_at: float
    messages: set[str] = field(default_factory=set)
    """Those that failed, up to as many as it takes."""


class DownHosts:
    """Remembers hosts that do not answer; one for each worker.

    A host is down once three messages in a row have failed, over at least fifteen seconds. It is then given one
    message a minute. Whatever it answers makes it as good as any other, unless it is an error of its own or puts us
    off. Failures with more than a minute in between are not in a row.

    Arguments:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._failing: dict[str, _Failing] = {}

    @contextmanager
    def attempt(self, host: str, message: str) -> Iterator[None]:
        """Give a host a message, inside; what comes of it is remembered.

        Arguments:
            host: it.
            message: the message's id; a repeat is the same message.

        Raises:
            PermanentError: the host is down, and it is not time to try it.
        """
        self._pass_over_if_down(host)
        try:
            yield
        except WebhookDown as down:
            down.culprit = _culprit(host)
            self._failed(host, message)
            raise
        except NeverAsked:
            raise
        except RecordError:
            self._failing.pop(host, None)
            raise
        self._failing.pop(host, None)

    def _pass_over_if_down(self, host: str) -> None:
        found, now = self._failing.get(host), self._clock()
        if found is None or len(found.messages) < _MESSAGES or now - found.since < _SECONDS:
            return
        # A clock that was set back must not keep a host out for longer.
        if 0 <= now - found.tried_at < _TRY_EVERY:
            since = datetime.fromtimestamp(found.since, timezone.utc).strftime("%Y-%m-%d %H:%MZ")
            raise PermanentError(
                f"webhook {host} has been down since {since}, and is tried once a minute: until it takes one, what is "
                "for it goes to the dead letters at once; see 'Letters and webhooks' in docs/operations.md",
                culprit=_culprit(host),
            )
        found.tried_at = now

    def _failed(self, host: str, message: str) -> None:
        now = self._clock()
        found = self._failing.get(host)
        if found is None or (len(found.messages) < _MESSAGES and now - found.tried_at > _TRY_EVERY):
            # What failed long ago is no beginning: nobody has asked the host since.
            found = self._failing[host] = _Failing(now, now)
        found.tried_at = now
        if len(found.messages) < _MESSAGES:
            found.messages.add(message)


def _culprit(host: str) -> str:
    """Whose fault it is that a host does not answer: the host's, however many customers it serves."""
    return f"host {host}"
