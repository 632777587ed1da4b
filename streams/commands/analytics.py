"""``paystream analytics``: what was sold, when and where."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, TextIO

import click
from rich.table import Column, Table
from rich.text import Text

from streams.commands.command import asynchronous, extra
from streams.commands.database import open_database
from streams.commands.tables import print_table
from streams.dead_letters.text import printable
from streams.failure.errors import PaystreamError
from streams.stores.sales_report import By, Sales, read_sales

_DAY: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M"]
_FIGURES: Final = ("orders", "units", "revenue", "refunds", "units_returned", "refunded", "net")


@click.group()
def analytics() -> None:
    """See what was sold and refunded, as the analytics agent has counted it.

    \b
        paystream analytics report --by day
        paystream analytics report --by sku --top 10 --from 2010-12-01 --to 2010-12-02
    """


@analytics.command()
@click.option("--from", "begin", type=click.DateTime(_DAY), metavar="DATE", help="From the beginning of this day, UTC.")
@click.option("--to", "end", type=click.DateTime(_DAY), metavar="DATE", help="Up to the beginning of this day, UTC.")
@click.option("--by", type=click.Choice([each.value for each in By]), multiple=True, help="What to tell apart.")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only the N rows of each currency with the highest net revenue.",
)
@click.option("--format", "form", type=click.Choice(["table", "csv", "parquet"]), default="table", show_default=True)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Instead of the screen; Parquet needs it.",
)
@asynchronous
async def report(
    begin: datetime | None, end: datetime | None, by: tuple[str, ...], top: int | None, form: str, output: Path | None
) -> None:
    """Add up sales and refunds by the time at which they happened.

    --by may be given several times. Currencies are always told apart. The day given as --to is not in the report:
    for one day, give the next as --to. A time may be given to the minute, as in 2010-12-01T08:00. Parquet is no
    text, and needs --output.

    \b
    Examples:
      paystream analytics report --by day --by country
      paystream analytics report --by sku --top 10 --from 2010-12-01 --to 2010-12-02
      paystream analytics report --by day --format csv --output sales.csv
      paystream analytics report --by minute --format parquet --output sales.parquet
    """
    chosen = [By(each) for each in by]
    if sum(each in (By.MINUTE, By.HOUR, By.DAY) for each in chosen) > 1:
        raise click.UsageError("choose one of --by minute, hour and day")
    if begin is not None and end is not None and begin >= end:
        raise click.UsageError("--from must be before --to")
    if form == "parquet" and output is None:
        raise click.UsageError("Parquet is no text: name a file with --output")
    async with open_database() as database:
        rows = await read_sales(database, _utc(begin), _utc(end), chosen, top)
    if form == "table":
        _as_table(rows, chosen, output)
    elif form == "csv":
        _as_csv(rows, chosen, output)
    else:
        assert output is not None, "seen to above"
        _as_parquet(rows, chosen, output)
    if output is not None:
        click.echo(f"{len(rows):,} {'row' if len(rows) == 1 else 'rows'} in {output}", err=True)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=timezone.utc)


def _key_columns(by: Sequence[By]) -> list[str]:
    window = [each.value for each in by if each in (By.MINUTE, By.HOUR, By.DAY)]
    return [*window, *(each.value for each in (By.COUNTRY, By.SKU) if each in by), "currency"]


def _key(row: Sales, by: Sequence[By]) -> list[str]:
    shown = []
    if row.window is not None:
        shown.append(row.window.strftime("%Y-%m-%d" if By.DAY in by else "%Y-%m-%dT%H:%MZ"))
    return [*shown, *(each for each in (row.country, row.sku) if each is not None), row.currency]


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    with _writing(output), output.open("w", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PaystreamError(f"{output} cannot be written: {error.strerror or error}") from error


def _as_table(rows: Sequence[Sales], by: Sequence[By], output: Path | None) -> None:
    figures = [Column(name.replace("_", " "), justify="right") for name in _FIGURES]
    table = Table(*(Column(name, no_wrap=True) for name in _key_columns(by)), *figures)
    for row in rows:
        table.add_row(
            *(Text(printable(each)) for each in _key(row, by)), *(f"{getattr(row, name):,}" for name in _FIGURES)
        )
    with _opened(output) as file:
        print_table(table, file)


def _as_csv(rows: Sequence[Sales], by: Sequence[By], output: Path | None) -> None:
    with _opened(output) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_key_columns(by), *_FIGURES])
        for row in rows:
            writer.writerow([*_key(row, by), *(getattr(row, name) for name in _FIGURES)])


def _as_parquet(rows: Sequence[Sales], by: Sequence[By], output: Path) -> None:
    with extra("parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    money = pa.decimal128(38, 6)
    moment = pa.timestamp("s", "UTC")
    windows: dict[str, Any] = {By.DAY.value: pa.date32(), By.HOUR.value: moment, By.MINUTE.value: moment}
    table = pa.table(
        {
            name: pa.array([row.window for row in rows], windows[name])
            if name in windows
            else pa.array([getattr(row, name) for row in rows], pa.string())
            for name in _key_columns(by)
        }
        | {
            name: pa.array(
                [getattr(row, name) for row in rows], money if name in ("revenue", "refunded", "net") else pa.int64()
            )
            for name in _FIGURES
        }
    )
    with _writing(output):
        pq.write_table(table, output)
