"""What an agent that keeps its effects in the database brings along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

E_contra = TypeVar("E_contra", contravariant=True)


class Effects(Protocol[E_contra]):
    """Carries out what the handlers of a batch have asked for."""

    async def apply(self, connection: AsyncConnection, effects: Sequence[E_contra]) -> None:
        """Carry them out in the transaction that also moves the offset: all of it happens, or nothing.

        Called once for each batch that asks for any, in set-based statements for speed. If the transaction is
        rolled back it may be called again with the same effects; it must not commit, and must not touch
        anything but the connection. What the database raises is left to the caller. Partitions apply side by
        side: touch rows in the order of their keys, or two of them wait for each other.
        """
