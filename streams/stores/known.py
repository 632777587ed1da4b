"""What has been done before: known by its id, and by what it says.

An id alone proves no repeat. A shop that counts anew, or a second shop with a sequence of its own, gives two events one
id; so beside each id there is a digest of what was done under it. Equal digests are a repeat, which does nothing.
Different ones are two events, of which the second is declined: what it would do was never done, and must not vanish.

Rows of before schema 0006 have no digest, and their ids do not say what the event was. A record takes such a row for
its own if it may be, as well as can be told; the row is then gone, so that only one record can.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, Protocol, TypeVar

from sqlalchemy import Table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from models.identity import differ
from streams.database.effects import Declined
from streams.database.statements import packed, with_rows
from streams.failure.errors import IdTaken

# An event is seen after it has happened. But a shop that writes local time as UTC is up to 14 hours ahead, and its
# replays must be recognised all the same.
CLOCKS_APART: Final = 86_400
"""Seconds by which an event may seem to have happened after it was seen."""


class Identified(Protocol):
    """A message that does something once."""

    @property
    def identity(self) -> str:
        """Its id, with what the event was."""

    @property
    def former(self) -> str | None:
        """The id that it had before ids said what the event was."""

    @property
    def occurred_at(self) -> datetime:
        """When the event happened."""

    def digest(self) -> str:
        """Make a digest of what it says."""


M = TypeVar("M", bound=Identified)
M_co = TypeVar("M_co", bound=Identified, covariant=True)


@dataclass(frozen=True, slots=True)
class Placed(Generic[M_co]):
    """A message, and where it was read.

    Attributes:
        message: it.
        place: ``topic-partition@offset``.
    """

    message: M_co
    place: str


@dataclass(frozen=True, slots=True)
class Former(Generic[M]):
    """A message, and a row of before schema 0006 that may be its.

    Attributes:
        message: it.
        seen_at: when the row was made, in seconds since 1970.
    """

    message: M
    seen_at: int

    @property
    def too_old(self) -> bool:
        """Whether the row was there before the event had happened, so that it is another's."""
        return self.message.occurred_at.timestamp() > self.seen_at + CLOCKS_APART


@dataclass(frozen=True, slots=True)
class Sorted(Generic[M]):
    """What is to be done, and what must not be.

    Attributes:
        new: messages that nobody has carried out, in their order.
        declined: effects whose ids are others'.
    """

    new: list[M]
    declined: list[Declined]


Evidence = Callable[[AsyncConnection, "Sequence[Former[M]]"], "Awaitable[list[bool]]"]
"""Tells of each whether the row may be its."""


class Known:
    """The table of what has been done of one kind.

    Arguments:
        table: with the columns of :func:`streams.database.identity_columns.known`.
    """

    def __init__(self, table: Table) -> None:
        (key,) = table.primary_key.columns.keys()
        name = table.name
        self._insert = (
            f"INSERT INTO {name} ({key}, seen_at, digest, place) "
            "SELECT name, CAST(:now AS BIGINT), digest, place FROM ({rows}) AS asked WHERE true "
            f"ON CONFLICT ({key}) DO NOTHING RETURNING {key}"
        )
        self._there = (
            f"SELECT {key} AS id, digest, place FROM {name} JOIN ({{rows}}) AS wanted ON wanted.name = {name}.{key}"
        )
        self._complete = (
            f"UPDATE {name} SET digest = new.digest, place = new.place FROM ({{rows}}) AS new "
            f"WHERE {name}.{key} = new.name AND {name}.digest IS NULL"
        )
        self._any_former = text(f"SELECT EXISTS (SELECT 1 FROM {name} WHERE digest IS NULL)")
        self._former = (
            f"SELECT {key} AS id, seen_at FROM {name} JOIN ({{rows}}) AS wanted ON wanted.name = {name}.{key} "
            "WHERE digest IS NULL"
        )
        self._take = f"DELETE FROM {name} WHERE digest IS NULL AND {key} IN ({{rows}}) RETURNING {key}"

    async def sort(self, connection: AsyncConnection, asked: Sequence[Placed[M]], may_be: Evidence[M]) -> Sorted[M]:
        """Note what has not been done before, and tell it from what has, and from what must not be.

        Of a message that is there twice the first counts, as it does across batches.

        Arguments:
            connection: in the transaction in which it is done.
            asked: in their order.
            may_be: tells of rows of before schema 0006 whether they may be their messages'.
        """
        names = [each.message.identity for each in asked]
        digests = [each.message.digest() for each in asked]
        firsts = {name: index for index, name in reversed(list(enumerate(names)))}
        rows = {name: (name, digests[index], asked[index].place) for name, index in sorted(firsts.items())}
        fresh = await self._note(connection, rows.values())
        there: dict[str, tuple[str, str | None]] = {name: (digest, place) for name, digest, place in rows.values()}
        there |= await self._look_up(connection, [row for name, row in rows.items() if name not in fresh])
        declined = [
            Declined(index, IdTaken(there[name][1]))
            for index, name in enumerate(names)
            if differ(there[name][0], digests[index])
        ]
        if declined:
            return Sorted([], declined)  # and all of this is rolled back
        found = [(index, asked[index].message) for index in sorted(firsts[name] for name in fresh)]
        done = await self._done_before(connection, [message for _, message in found], may_be)
        return Sorted([message for _, message in found if message.identity not in done], [])

    async def _note(self, connection: AsyncConnection, rows: Iterable[tuple[str, str, str]]) -> set[str]:
        """Insert rows; return the names of those that were not there."""
        statement = with_rows(connection, self._insert, name=str, digest=str, place=str)
        noted = await connection.execute(statement, {**packed(list(rows)), "now": int(time.time())})
        return set(noted.scalars())

    async def _look_up(
        self, connection: AsyncConnection, rows: Sequence[tuple[str, str, str]]
    ) -> dict[str, tuple[str, str | None]]:
        """Return digest and place of rows that are there; those without are taken to be of what comes now."""
        if not rows:
            return {}
        statement = with_rows(connection, self._there, name=str)
        found = (await connection.execute(statement, packed([[name] for name, *_ in rows]))).all()
        there = {row.id: (row.digest, row.place) for row in found if row.digest is not None}
        bare = [row for row in rows if row[0] not in there]
        if bare:
            statement = with_rows(connection, self._complete, name=str, digest=str, place=str)
            await connection.execute(statement, packed(bare))
        return there

    async def _done_before(self, connection: AsyncConnection, fresh: Sequence[M], may_be: Evidence[M]) -> set[str]:
        """Find those that were done before schema 0006; return their names, and give their rows up for the new ones."""
        if not fresh or not (await connection.execute(self._any_former)).scalar_one():
            return set()
        wanted = defaultdict(list)
        for message in fresh:
            if message.former is not None:
                wanted[message.former].append(message)
        statement = with_rows(connection, self._former, name=str)
        rows = (await connection.execute(statement, packed([[name] for name in sorted(wanted)]))).all()
        pairs = [(row.id, Former(message, row.seen_at)) for row in rows for message in wanted[row.id]]
        likely = await may_be(connection, [former for _, former in pairs]) if pairs else []
        # A row is of one event: of the first that may be it.
        takers: dict[str, str] = {}
        for (name, former), is_likely in zip(pairs, likely, strict=True):
            if is_likely:
                takers.setdefault(name, former.message.identity)
        if not takers:
            return set()
        statement = with_rows(connection, self._take, name=str)
        taken = await connection.execute(statement, packed([[name] for name in sorted(takers)]))
        # Another lane may have been there first: then it was another event's.
        return {takers[name] for name in taken.scalars()}
