"""``paystream inventory``: what is in stock, and the stock that it began with."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
from rich.table import Column, Table
from rich.text import Text

from streams.commands.command import asynchronous
from streams.commands.csv_rows import csv_rows
from streams.commands.database import open_database
from streams.commands.tables import print_table
from streams.dead_letters.text import printable
from streams.failure.errors import InputError, PaystreamError
from streams.stores.article import Article
from streams.stores.stock import count_opening_stock, read_articles

_HEADER: Final = ["sku", "quantity"]
# As on the wire: models.wire's Identifier.
_LONGEST_SKU: Final = 128
_MOST: Final = 10**12


@click.group()
def inventory() -> None:
    """See the stock that the inventory agent keeps, and say what it began with.

    \b
        paystream inventory load opening.csv
        paystream inventory show 85123A
        paystream inventory show --owed
    """


@inventory.command()
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@asynchronous
async def load(file: Path) -> None:
    """Set the opening stock of the articles in FILE, a CSV with the columns sku and quantity.

    It may be loaded at any time and again with other figures: what has been moved stays moved, and what is on
    hand changes by the difference. Pieces that are owed are given out first, to whose order came here first.
    FILE is read and checked whole before anything is changed.

    \b
    Examples:
      paystream inventory load examples/opening_stock.csv
      paystream inventory show 85123A
    """
    opening = read_opening_stock(file)
    async with open_database() as database:
        await count_opening_stock(database, opening)
    click.echo(f"opening stock of {len(opening):,} articles, {sum(opening.values()):,} pieces")


@inventory.command()
@click.argument("skus", metavar="[SKU]...", nargs=-1)
@click.option("--owed", is_flag=True, help="Only articles of which pieces are owed.")
@asynchronous
async def show(skus: tuple[str, ...], owed: bool) -> None:
    """Show the stock of articles, of all if none is named, and of named ones who is owed pieces.

    For every article: opening - on hand + back-ordered = moved.

    \b
    Examples:
      paystream inventory show
      paystream inventory show 85123A 22423
      paystream inventory show --owed
    """
    async with open_database() as database:
        articles = await read_articles(database, skus)
    unknown = [sku for sku in skus if sku not in {article.sku for article in articles}]
    if unknown:
        raise PaystreamError(f"nothing is known of {', '.join(unknown)}: no stock was loaded, and no order had it")
    if owed:
        articles = [article for article in articles if article.back_ordered]
    print_table(_table(articles))
    if skus:
        for article in articles:
            for line in article.open:
                click.echo(printable(f"{article.sku}: {line.quantity:,} owed to order {line.order_id}"))


def read_opening_stock(file: Path) -> dict[str, int]:
    """Read opening stock by article.

    Raises:
        InputError: something is wrong in the file; it names the place.
    """
    opening: dict[str, int] = {}
    for line, row in csv_rows(file, _HEADER):
        sku, quantity = _read_row(file, line, row)
        if sku in opening:
            raise InputError(file, "the article was there before", line=line, column="sku")
        opening[sku] = quantity
    if not opening:
        raise InputError(file, "holds no articles: expected a line for each below sku,quantity")
    return opening


def _read_row(file: Path, line: int, row: list[str]) -> tuple[str, int]:
    if len(row) != len(_HEADER):
        raise InputError(file, f"{len(row)} columns where there should be 2", line=line)
    sku, quantity = row
    if not 0 < len(sku) <= _LONGEST_SKU or not sku.isprintable():
        raise InputError(
            file, f"expected the name of an article, of 1 to {_LONGEST_SKU} characters", line=line, column="sku"
        )
    whole = quantity.isascii() and quantity.isdecimal() and len(quantity) <= len(str(_MOST))
    if not whole or int(quantity) > _MOST:
        raise InputError(file, f"expected a whole number of pieces, from 0 to {_MOST:,}", line=line, column="quantity")
    return sku, int(quantity)


def _table(articles: list[Article]) -> Table:
    figures = [Column(name, justify="right") for name in ("opening", "on hand", "back-ordered", "moved")]
    table = Table(Column("article", no_wrap=True), *figures)
    for each in articles:
        owed = f"[yellow]{each.back_ordered:,}[/]" if each.back_ordered else "0"
        table.add_row(Text(printable(each.sku)), f"{each.opening:,}", f"{each.on_hand:,}", owed, f"{each.moved:,}")
    return table
