"""Printing tables whole: a figure that is cut off is worse than a line that is too long."""

from __future__ import annotations

from typing import IO, Final

from rich.console import Console
from rich.table import Table

# A table is never measured as wider than its console.
_WIDER_THAN_ANY: Final = 1_000_000


def print_table(table: Table, file: IO[str] | None = None) -> None:
    """Print a table to a file or the screen, as wide as it is."""
    console = Console(file=file)
    for column in table.columns:
        column.no_wrap = True
    screen, console.width = console.width, _WIDER_THAN_ANY
    console.width = max(screen, console.measure(table).maximum)
    console.print(table)
