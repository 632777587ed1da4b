"""The demo's database, mailbox and folder: made at its beginning, and looked into at its end."""

from __future__ import annotations

import asyncio
import html
import time
from collections import Counter
from email.message import EmailMessage
from pathlib import Path
from typing import Final

from streams.database.engine import Database
from streams.database.schema import upgrade
from streams.demo.effects import Effects, Received
from streams.demo.expected import OPENING, Expected, Row, customer_of
from streams.failure.errors import PaystreamError
from streams.platform.folder import Folder
from streams.stores.notifications import load_customers
from streams.stores.sales_report import By, read_sales
from streams.stores.stock import count_opening_stock, read_articles

_PATIENCE: Final = 60.0
_POLL: Final = 0.05
_COLUMNS: Final = ["kind", "record_id", "order_id", "country", "currency", "amount", "units"]


class World:
    """The demo's database, mailbox and folder, as the worker leaves them.

    Arguments:
        database: shared with the worker.
        letters: the mailbox's, which grows.
        folder: where the platform's files are.
    """

    def __init__(self, database: Database, letters: list[EmailMessage], folder: Path) -> None:
        self._database = database
        self._letters = letters
        self._folder = folder
        self._opened: list[Received] = []

    async def prepare(self, expected: Expected) -> None:
        """Make the tables, and let the shop know its customers and its opening stock."""
        await upgrade(self._database)
        await load_customers(self._database, [customer_of(each) for each in expected.customers])
        await count_opening_stock(self._database, dict.fromkeys(expected.moved, OPENING))

    async def settled(self, expected: Expected) -> Effects:
        """Wait until everything has arrived; if that does not come, return what has."""
        until, before = time.monotonic() + _PATIENCE, None
        while True:
            found = await self._look()
            if not found.problems(expected):
                return found
            if found != before:
                before, until = found, time.monotonic() + _PATIENCE
            elif time.monotonic() > until:
                return found
            await asyncio.sleep(_POLL)

    async def _look(self) -> Effects:
        files, rows = await asyncio.to_thread(_rows_in, self._folder)
        self._opened += [opened(letter) for letter in self._letters[len(self._opened) :]]
        return Effects(
            stock=await read_articles(self._database),
            sales=await read_sales(self._database, by=[By.COUNTRY]),
            letters=tuple(self._opened),
            rows=rows,
            files=files,
        )


def opened(letter: EmailMessage) -> Received:
    """Read a letter."""
    texts = {
        part.get_content_subtype(): str(part.get_content())
        for part in letter.walk()
        if part.get_content_maintype() == "text"
    }
    if "html" in texts:
        texts["html"] = html.unescape(texts["html"])
    return Received(str(letter["To"]), str(letter["Subject"]), tuple(texts.values()))


def _rows_in(folder: Path) -> tuple[int, Counter[Row]]:
    paths = [str(folder / file.name) for file in Folder(str(folder)).listing().files]
    if not paths:
        return 0, Counter()
    try:
        import pyarrow.dataset as ds

        rows = ds.dataset(paths, format="parquet").to_table(columns=_COLUMNS).to_pylist()
    except OSError as error:
        raise PaystreamError(f"the platform's files cannot be read: {error}") from error
    return len(paths), Counter(Row(**row) for row in rows)
