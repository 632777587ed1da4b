from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.commands.inventory import inventory
from streams.failure.errors import ExitStatus


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_spreadsheet_saved_in_utf_16_is_told_how_to_be_saved(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "opening.csv"
    file.write_text("sku,quantity\nHEART,5\n", encoding)
    result = CliRunner().invoke(inventory, ["load", str(file)])
    assert result.exit_code == ExitStatus.BAD_INPUT
    assert result.stderr == (
        f"paystream: {file}: the file is in UTF-16: save it as UTF-8, with a byte order mark or without one\n"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sku,quantity\n", ": holds no articles: expected a line for each below sku,quantity"),
        ("sku,quantity\n\n\n", ": holds no articles: expected a line for each below sku,quantity"),
        ("", ":1: the first line must be: sku,quantity"),
    ],
    ids=["a header alone", "empty lines below it", "nothing at all"],
)
def test_opening_stock_of_no_articles_is_no_opening_stock(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "opening.csv"
    file.write_text(text)
    result = CliRunner().invoke(inventory, ["load", str(file)])
    assert (result.exit_code, result.stdout) == (ExitStatus.BAD_INPUT, "")
    assert result.stderr == f"paystream: {file}{reason}\n"
