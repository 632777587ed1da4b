"""Records of one id that say different things: two events, of which readers who take each id once would see one.

A file keeps every record that was in Kafka, and whoever writes one knows nothing of all the others: so this is found by
whoever reads them all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

_SEVERAL: Final = "SELECT name FROM rows GROUP BY name HAVING count(DISTINCT digest) > 1 ORDER BY name"
_OF_NAME: Final = "SELECT digest, partition, number FROM rows WHERE name = ? ORDER BY partition, number"


@dataclass(frozen=True, slots=True)
class SameId:
    """An id that several records have, which say different things.

    Attributes:
        name: it.
        places: of the first record of each contents, as ``partition@offset``, in order.
    """

    name: str
    places: tuple[str, ...]


class SameIds:
    """Looks for them among any number of rows: what does not fit into a cache is on the disk, until it is closed."""

    def __init__(self) -> None:
        # Without a name SQLite makes a file of its own for what its cache does not hold, and deletes it.
        self._rows = sqlite3.connect("")
        self._rows.execute("CREATE TABLE rows (name TEXT, digest TEXT, partition INTEGER, number INTEGER)")

    def add(self, partition: int, rows: Iterable[tuple[str, str, int]]) -> None:
        """Take the rows of a file into account.

        Arguments:
            partition: whose they are.
            rows: of each the record's id, the digest of what it says, and its offset.
        """
        written = ((name, digest, partition, offset) for name, digest, offset in rows)
        self._rows.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", written)

    def found(self) -> Iterator[SameId]:
        """Yield those that there are, in order; call it once."""
        self._rows.execute("CREATE INDEX by_name ON rows (name, digest)")
        for (name,) in self._rows.execute(_SEVERAL).fetchall():
            firsts: dict[str, str] = {}
            for digest, partition, offset in self._rows.execute(_OF_NAME, (name,)):
                firsts.setdefault(digest, f"{partition}@{offset}")
            yield SameId(name, tuple(firsts.values()))

    def close(self) -> None:
        """Let go of the file."""
        self._rows.close()
