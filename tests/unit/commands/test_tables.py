from __future__ import annotations

import io

import pytest
from rich.table import Column, Table

from streams.commands.tables import print_table

COLUMNS = ("day", "country", "sku", "currency", "orders", "units", "revenue", "refunds", "units returned", "refunded")
ROW = (
    "2010-12-01",
    "United Kingdom",
    "85123A",
    "GBP",
    "1,234",
    "56,789",
    "123,456,789.000000",
    "12",
    "345",
    "6,789.00",
)


def wide_table() -> Table:
    table = Table(*(Column(name, justify="right") for name in COLUMNS))
    table.add_row(*ROW)
    table.add_row(*("x" * 30 for _ in ROW))
    return table


def assert_whole(printed: str) -> None:
    assert "…" not in printed
    header, first, second = (line for line in printed.splitlines() if "─" not in line and "━" not in line)
    for line, cells in ((header, COLUMNS), (first, ROW), (second, ["x" * 30] * len(ROW))):
        assert [cell.strip() for cell in line.replace("┃", "│").split("│")[1:-1]] == list(cells)


def test_no_cell_is_cut_on_a_screen_of_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_table(wide_table())
    assert_whole(capsys.readouterr().out)


def test_no_cell_is_cut_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    file = io.StringIO()
    print_table(wide_table(), file)
    assert_whole(file.getvalue())


def test_a_narrow_table_is_as_wide_as_its_cells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table = Table("sku")
    table.add_row("85123A")
    print_table(table)
    assert max(len(line.rstrip()) for line in capsys.readouterr().out.splitlines()) == len("│ 85123A │")
