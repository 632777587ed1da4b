"""Messages as the agents hand them to what keeps stock and sales: with the place where they were read."""

from __future__ import annotations

from collections.abc import Sequence

from streams.stores.known import M, Placed


def placed(messages: Sequence[M], first: int = 0) -> list[Placed[M]]:
    """Say that the messages were read one after another."""
    return [Placed(message, f"test-0@{offset}") for offset, message in enumerate(messages, first)]
