"""How many files this process may have open, and what it means that it has them all open.

A connection is a file, too. Who cannot open one more is told so by the system, in errno; but names are looked up and
databases are opened by libraries that turn it into something else ("no such host", "unable to open database file"), and
Kafka's client logs it and then says that no broker answers. So what fails is not asked alone: it is tried.
"""

from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_ERRORS: Final = (errno.EMFILE, errno.ENFILE)
# What is told of a failure has happened a moment before: by now others may have let go of a file or two.
_RECENTLY: Final = 10.0
# Python, logs, the web port and who asks there, the database's pool, mail servers, webhooks, files being written.
BESIDE_KAFKA: Final = 128


@dataclass(slots=True)
class _Met:
    """When, and in which way, the system last refused to open a file."""

    at: float = float("-inf")
    number: int = errno.EMFILE


_MET: Final = _Met()


def met_shortage(error: BaseException | None) -> bool:
    """Tell whether an error, or what it came from, is that no more files can be opened; and keep it in mind."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in _ERRORS:
            _MET.at, _MET.number = time.monotonic(), error.errno
            return True
        error = error.__cause__ or error.__context__
    return False


def shortage(error: BaseException | None = None) -> str:
    """Say that no more files can be opened, now or a moment ago, and the way out; empty if they can.

    Arguments:
        error: what has failed, if something has.
    """
    if not met_shortage(error):
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as refusal:
            met_shortage(refusal)
    if time.monotonic() - _MET.at > _RECENTLY:
        return ""
    if _MET.number == errno.ENFILE:
        return "this machine has as many files open as its kernel allows (on Linux, fs.file-max)"
    return (
        f"too many open files: this process may have {_limit():,} open, connections included, and has. {RAISE_IT}, or "
        "start more workers, which share the partitions"
    )


RAISE_IT: Final = "Raise its limit ('ulimit -n', systemd's LimitNOFILE=, Docker's --ulimit nofile=)"


def _limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class OpenFiles:
    """What the partitions of a worker may need to have open, and the limit that is set for it.

    Arguments:
        limits: returns the soft and the hard limit; :data:`resource.RLIM_INFINITY` for none.
        raise_to: sets the soft limit.

    Attributes:
        needed: files that may be needed, as far as is known.
    """

    def __init__(
        self, limits: Callable[[], tuple[int, int]] | None = None, raise_to: Callable[[int], None] | None = None
    ) -> None:
        self.needed = BESIDE_KAFKA
        self._limits = limits or (lambda: resource.getrlimit(resource.RLIMIT_NOFILE))
        self._raise_to = raise_to or _set_soft_limit
        self._raised_from: int | None = None

    def expect(self, files: int) -> None:
        """Reckon with so many files more, and raise the process's own limit if that is too low and may be raised."""
        self.needed += files
        soft, hard = self._limits()
        if _at_least(soft, self.needed) or soft == hard:
            return
        try:
            # To the number that is needed where there is no hard limit: some systems refuse to have none.
            self._raise_to(self.needed if hard == resource.RLIM_INFINITY else hard)
        except (OSError, ValueError):
            return  # said by `verdict`
        self._raised_from = self._raised_from or soft

    def verdict(self) -> tuple[bool, str]:
        """Tell whether the limit suffices, and what there is to say of it; nothing if it has been high enough."""
        soft, _ = self._limits()
        if not _at_least(soft, self.needed):
            return False, (
                f"the partitions of this worker may need {self.needed:,} open files, connections included, if no other "
                f"worker shares them, and it may open {soft:,}. {RAISE_IT}"
            )
        if self._raised_from is not None:
            return True, (
                f"the partitions of this worker may need {self.needed:,} open files, connections included: the limit "
                f"of {self._raised_from:,} has been raised to {soft:,}"
            )
        return True, ""


def _at_least(limit: int, needed: int) -> bool:
    return limit in (resource.RLIM_INFINITY, -1) or limit >= needed


def _set_soft_limit(soft: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
