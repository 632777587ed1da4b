from __future__ import annotations

import asyncio
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.databases import upgraded

from streams.commands import analytics as command
from streams.failure.errors import ExitStatus
from streams.stores.sales_report import Sales


@pytest.fixture
def _database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    monkeypatch.setenv("PAYSTREAM_DATABASE__URL", url)
    asyncio.run(upgraded(url))


def report(monkeypatch: pytest.MonkeyPatch, rows: int, *arguments: str | Path) -> Result:
    async def sales(*_: object) -> list[Sales]:
        return [Sales(None, None, None, "GBP", 1, 1, Decimal(number), 0, 0, Decimal(0)) for number in range(rows)]

    monkeypatch.setattr(command, "read_sales", sales)
    return CliRunner().invoke(command.analytics, ["report", *(str(each) for each in arguments)])


@pytest.mark.usefixtures("_database")
@pytest.mark.parametrize("form", ["table", "csv", "parquet"])
@pytest.mark.parametrize(("rows", "said"), [(0, "0 rows"), (1, "1 row"), (1234, "1,234 rows")])
def test_a_report_that_is_written_to_a_file_says_how_much_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str, rows: int, said: str
) -> None:
    file = tmp_path / "report"
    result = report(monkeypatch, rows, "--format", form, "--output", file)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"{said} in {file}\n")
    assert file.exists()


@pytest.mark.usefixtures("_database")
def test_a_report_on_the_screen_is_nothing_but_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    result = report(monkeypatch, 1, "--format", "csv")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 2


@pytest.mark.usefixtures("_database")
def test_without_pyarrow_a_report_in_parquet_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = report(monkeypatch, 1, "--format", "parquet", "--output", tmp_path / "report.parquet")
    assert result.exit_code == ExitStatus.CONFIGURATION
    assert result.stderr == "paystream: this needs pyarrow: pip install '.[parquet]' in the checkout of paystream\n"
