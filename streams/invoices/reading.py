"""What the readers of all kinds of file share: opening a file, and collecting what it holds."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from streams.failure.errors import InputError
from streams.invoices.event import CANCELLED, COMPLETED, ShopEvent
from streams.kafka.encoding import ENCODING_SHOWS_IN, foreign_encoding

EMPTY: Final = "the file is empty"
NO_ORDERS: Final = "there are no orders in it"
"""What is said of a file whose lines are all empty, or its header."""
# Kafka's producers allow 1 MiB in one request by default (max.request.size); a record and its batch need
# less than 1 KiB of it beside key, value and headers.
MAX_EVENT_BYTES: Final = 1_048_576 - 1024


@dataclass(slots=True)
class Reading:
    """What the files hold, in their order; an invoice stands where its first line stands."""

    skip_unreadable: bool = False
    events: list[ShopEvent] = field(default_factory=list)
    left_out: list[InputError] = field(default_factory=list)
    """Why an invoice, an event or a whole file was skipped; one entry for each."""

    @property
    def payments(self) -> list[ShopEvent]:
        """The payments among the events."""
        return [event for event in self.events if event.kind is COMPLETED]

    @property
    def cancellations(self) -> list[ShopEvent]:
        """The cancellations among the events."""
        return [event for event in self.events if event.kind is CANCELLED]

    def reject(self, problem: InputError) -> None:
        """Note what cannot be read.

        Raises:
            InputError: the problem itself, unless such parts are to be skipped.
        """
        if not self.skip_unreadable:
            raise problem
        self.left_out.append(problem)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, decompressing ``.xz``.

    Raises:
        InputError: it cannot be read, now or later in the ``with`` block, because it is not there, or
            damaged, or cut off, or in UTF-16.
    """
    try:
        with lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb") as file:
            check_encoding(path, file.read(ENCODING_SHOWS_IN))
            file.seek(0)
            yield file
    except EOFError:
        raise InputError(path, "the archive is cut off: it ends before its end mark") from None
    except lzma.LZMAError as error:
        raise InputError(path, f"the archive is damaged: {error}") from None
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror or error}") from None


def check_encoding(path: Path, beginning: bytes) -> None:
    """Refuse a file whose beginning tells that it is in another encoding than UTF-8.

    Raises:
        InputError: naming the encoding, and what to do.
    """
    encoding = foreign_encoding(beginning)
    if encoding is not None:
        raise InputError(path, f"the file is in {encoding}: save it as UTF-8, with a byte order mark or without one")


def check_size(event: ShopEvent, path: Path, line: int) -> None:
    """Refuse an event that no producer would send.

    Raises:
        InputError: naming its size and the limit.
    """
    if event.size > MAX_EVENT_BYTES:
        raise InputError(
            path, f"the event has {event.size:,} bytes; Kafka takes {MAX_EVENT_BYTES:,} at most", line=line
        )
