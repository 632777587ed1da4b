"""What an agent that keeps its effects in the database brings along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from streams.failure.errors import PermanentError

E_contra = TypeVar("E_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Declined:
    """An effect that must not happen: its record is to be a dead letter.

    Attributes:
        index: which of the effects.
        error: why. Its message is in the dead letter, so it must not quote the record; its class says at which stage
            the record failed, :class:`~streams.failure.errors.InvalidRecord` for example at ``validate``.
    """

    index: int
    error: PermanentError


class Effects(Protocol[E_contra]):
    """Carries out what the handlers of a batch have asked for."""

    async def apply(self, connection: AsyncConnection, effects: Sequence[E_contra]) -> Sequence[Declined] | None:
        """Carry them out in the transaction that also moves the offset: all of it happens, or nothing.

        Called once for each batch that asks for any, in set-based statements for speed. If the transaction is
        rolled back it may be called again with the same effects; it must not commit, and must not touch
        anything but the connection. What the database raises is left to the caller. Partitions apply side by
        side: touch rows in the order of their keys, or two of them wait for each other.

        What only the database can tell of one effect, it declines: the id is another event's, say. The transaction
        is then rolled back, whatever was written. The records of the declined effects become dead letters, as if their
        handlers had raised the errors: counted, written with the reason, taken from the budget; nothing else that they
        asked for or emitted happens. Then it is called anew with the effects of all others. So it costs the others
        nothing to write them before it declines, and a batch with a thousand declined is done twice, not a thousand
        times, if all are named at once.

        Arguments:
            connection: in the transaction.
            effects: in the order of their records.

        Returns:
            the effects that must not happen; None or nothing if all may, which is the rule.
        """
