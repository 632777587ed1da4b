"""Printing tables whole: a figure that is cut off is worse than a line that is too long."""

from __future__ import annotations

from typing import IO

from rich.console import Console
from rich.table import Table


def print_table(table: Table, file: IO[str] | None = None) -> None:
    """Print a table to a file or the screen, as wide as it is."""
    console = Console(file=file)
    for column in table.columns:
        column.no_wrap = True
    console.width = max(console.width, console.measure(table).maximum)
    console.print(table)
