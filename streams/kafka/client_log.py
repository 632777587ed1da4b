"""What aiokafka says in the log, said as often as somebody wants to read it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from streams.failure.open_files import met_shortage
from streams.kafka.forgotten import NotOfForgotten

# While brokers are away, each of its clients reports every attempt to reach them: 500 lines a second were seen.
_SECONDS: Final = 60.0
_LOGGERS: Final = (
    "aiokafka",  # is the client's own
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.consumer.consumer",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.producer.producer",
    "aiokafka.producer.sender",
)
"""A filter of a logger is not asked about what comes from those below it, so each has to have it."""


@dataclass(slots=True)
class _Said:
    """A message that has been let through."""

    at: float
    held_back: int = 0


class OnceAMinute(logging.Filter):
    """Lets a message through once a minute, whatever it is filled in with, and then says how many were held back.

    Arguments:
        clock: seconds, from anywhere.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, int, str], _Said] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a message may pass."""
        for argument in record.args if isinstance(record.args, tuple) else ():
            # That no file could be opened is said here and nowhere else: the client only says that nobody answers.
            if isinstance(argument, OSError):
                met_shortage(argument)
        key, now = (record.name, record.levelno, str(record.msg)), self._clock()
        said = self._said.get(key)
        if said is not None and now - said.at < _SECONDS:
            said.held_back += 1
            return False
        self._said[key] = _Said(now)
        if said is not None and said.held_back:
            record.msg = f"{record.getMessage()} (held back since the last time: {said.held_back:,})"
            # Not None, though the standard library would take that for the same: mode's formatter makes a value of it.
            record.args = ()
        return True


_ONCE_A_MINUTE: Final = OnceAMinute()
_NOT_OF_FORGOTTEN: Final = NotOfForgotten()


def quieten_clients() -> None:
    """Keep aiokafka's chatter out of the log; its debug records alone cost 13 % of the throughput."""
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    for name in (*_LOGGERS, "streams.kafka.connecting"):  # which says what aiokafka would, and why
        logging.getLogger(name).addFilter(_NOT_OF_FORGOTTEN)
        logging.getLogger(name).addFilter(_ONCE_A_MINUTE)


class _Silence:
    """Who wants silence at the moment, and how loud it was before the first of them."""

    wanted_by = 0
    level_before = logging.NOTSET


@contextlib.contextmanager
def silent_clients() -> Iterator[None]:
    """Keep aiokafka from logging for as long as the block lasts: a command says in one line what failed.

    Blocks may overlap, as those of agents that connect side by side do: the last one to end restores what was before.
    """
    logger = logging.getLogger("aiokafka")
    if not _Silence.wanted_by:
        _Silence.level_before = logger.level
        logger.setLevel(logging.CRITICAL)
    _Silence.wanted_by += 1
    try:
        yield
    finally:
        _Silence.wanted_by -= 1
        if not _Silence.wanted_by:
            logger.setLevel(_Silence.level_before)
