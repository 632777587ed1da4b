"""What the demo shows: one line for each step, then tables that add up. Fits 100 columns and 40 lines."""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from models.dead_letter import DeadLetterView
from streams.dead_letters.kinds import Kind, kind_of, why
from streams.dead_letters.text import printable
from streams.demo.account import Account
from streams.demo.effects import Effects
from streams.demo.expected import Expected
from streams.settings import PREFIX, Settings
from streams.stores.sales_report import Sales
from streams.topics import (
    ANALYTICS_SALES,
    INVENTORY_MOVEMENTS,
    NOTIFICATION_REQUESTS,
    PAYMENT_CANCELLED,
    PAYMENT_COMPLETED,
    PLATFORM_ORDERS,
)

WIDTH: Final = 100
_PURPOSES: Final = {
    PAYMENT_COMPLETED: "what the shop writes when an order is paid",
    PAYMENT_CANCELLED: "and when it is cancelled",
}
_PURPOSE: Final = "what the shop writes, too"
_DEAD_LETTERS: Final = "what could not be processed, and why"
# More would push the verdict off the screen; the rest is counted in one line.
_REASONS: Final = 3
_PROBLEMS: Final = 8
_COUNTRIES: Final = 2
_CURRENCIES: Final = 2


@dataclass(frozen=True, slots=True)
class Result:
    """What the demo found.

    Attributes:
        account: the numbers.
        letters: all dead letters.
        first_seconds: from sending the first order until a consumer saw the first result.
        all_seconds: until it saw the last one.
        effects: what the four who heard of it have made of it.
        expected: what they should have.
    """

    account: Account
    letters: Sequence[DeadLetterView]
    first_seconds: float
    all_seconds: float
    effects: Effects
    expected: Expected

    def problems(self) -> tuple[str, ...]:
        """Say in words what does not add up."""
        return (*self.account.problems(), *self.effects.problems(self.expected))


def render(result: Result) -> RenderableType:
    """Draw the final screen."""
    account = result.account
    parts: list[RenderableType] = ["", _topics(result)]
    if result.letters:
        parts += ["", _reasons(result.letters)]
    parts += ["", _countries(result.effects.sales)]
    problems = result.problems()
    letters = result.effects.letters
    told = f"\nA letter from the mailbox: “{printable(letters[0].subject)}”" if letters else ""
    wrong = [f"\n✗ {each}" for each in problems[:_PROBLEMS]]
    if len(problems) > _PROBLEMS:
        wrong.append(f"\n… and {len(problems) - _PROBLEMS} more")
    body = Text.assemble(*_equation(account), _agreement(result), told, "\n", _timing(result), *wrong)
    if problems:
        title = "[bold red]✗ The numbers do not add up[/]"
        parts.append(Panel(body, title=title, border_style="red"))
    else:
        title = "[bold green]✓ The numbers add up: no order lost, none doubled[/]"
        parts.append(Panel(body, title=title, border_style="green"))
    return Group(*parts)


def _equation(account: Account) -> Iterator[str | tuple[str, str]]:
    yield (f"{account.consumed:,} consumed", "bold")
    yield " = "
    yield (f"{account.platform.total():,} platform records", "bold green")
    yield " + "
    yield (f"{account.dead_letters.total():,} dead letters", "bold yellow")
    yield f", of {account.published.total():,} published"


def _agreement(result: Result) -> str:
    """Say that the four agree, if they do."""
    if result.effects.problems(result.expected):
        return ""
    return "\nStock, letters, revenue and files agree with the input and with each other."


def _timing(result: Result) -> str:
    return (
        f"First result after {result.first_seconds:.2f} s, last one after {result.all_seconds:.2f} s. "
        "For speed: 'make bench'."
    )


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, expand=True, show_edge=False, padding=(0, 1), pad_edge=True)


def _topics(result: Result) -> Table:
    account = result.account
    table = _table()
    table.add_column("topic", style="cyan", no_wrap=True)
    table.add_column("what for, and what became of it", style="dim", ratio=1)
    for name in ("records", "missing", "too many"):
        table.add_column(name, justify="right")

    first = account.sources[0]
    table.add_row(first.topic, _PURPOSES.get(first.topic, _PURPOSE), f"{first.published.total():,}")
    for source in account.sources[1:]:
        if source.published:
            table.add_row(source.topic, _PURPOSES.get(source.topic, _PURPOSE), f"{source.published.total():,}")
    made = _made_of(result.effects)
    valid = account.published - account.dead_letters
    rows = [(topic, made.get(topic, ""), orders, valid) for topic, orders in account.outputs.items()]
    rows += [
        (source.dead_letter_topic, _DEAD_LETTERS, source.dead_letters, source.published - account.platform)
        for number, source in enumerate(account.sources)
        if source.dead_letters or not number
    ]
    for topic, purpose, there, wanted in rows:
        missing, surplus = (wanted - there).total(), (there - wanted).total()
        table.add_row(topic, purpose, f"{there.total():,}", _alarming(missing), _alarming(surplus))
    return table


def _made_of(effects: Effects) -> dict[str, str]:
    """Say what became of the records of each output."""
    korean = sum(each.is_korean for each in effects.letters)
    owed = f", {effects.owed:,} of them owed" if effects.owed else ""
    return {
        PLATFORM_ORDERS: f"{effects.rows.total():,} rows in {effects.files:,} Parquet files",
        NOTIFICATION_REQUESTS: f"{len(effects.letters):,} letters sent, {korean:,} of them in Korean",
        INVENTORY_MOVEMENTS: f"{effects.moved.total():,} pieces moved{owed}",
        ANALYTICS_SALES: "revenue by country: see below",
    }


def _countries(sales: Sequence[Sales]) -> Table:
    table = _table()
    table.add_column("revenue by country", style="cyan", no_wrap=True, ratio=1)
    for name in ("orders", "revenue", "refunds", "refunded", "net"):
        table.add_column(name, justify="right", no_wrap=True)
    ranked = sorted(sales, key=lambda each: each.net, reverse=True)
    for each in ranked[:_COUNTRIES]:
        table.add_row(Text(printable(each.country or "")), *_cells([each]))
    if rest := ranked[_COUNTRIES:]:
        table.add_row(f"{len(rest)} others", *_cells(rest))
    for label, group in _totals(ranked):
        table.add_row(Text(label, "bold"), *_cells(group), style="bold")
    return table


def _totals(sales: Sequence[Sales]) -> Iterator[tuple[str, list[Sales]]]:
    """Part the sales by currency, since there is no sum of pounds and euros; many currencies share a row of counts."""
    currencies = list(dict.fromkeys(each.currency for each in sales))
    if len(currencies) > _CURRENCIES:
        yield f"all, in {len(currencies)} currencies", list(sales)
        return
    for currency in currencies:
        group = [each for each in sales if each.currency == currency]
        yield ("all countries" if len(currencies) == 1 else f"all in {currency}"), group


def _cells(sales: Sequence[Sales]) -> list[str]:
    """Add sales up for a row; money only if it is all of one currency."""
    orders, refunds = sum(each.orders for each in sales), sum(each.refunds for each in sales)
    currencies = {each.currency for each in sales}
    if len(currencies) != 1:
        return [f"{orders:,}", "", f"{refunds:,}", "", ""]
    revenue, refunded = sum(each.revenue for each in sales), sum(each.refunded for each in sales)
    return [
        f"{orders:,}",
        f"{revenue:,} {currencies.pop()}",
        f"{refunds:,}",
        f"{refunded:,}",
        f"{revenue - refunded:,}",
    ]


def _alarming(count: int) -> str:
    return f"[bold red]{count:,}[/]" if count else "[green]0[/]"


def _reasons(letters: Sequence[DeadLetterView]) -> Table:
    table = _table()
    table.add_column("dead letters", justify="right", no_wrap=True)
    table.add_column("stage", no_wrap=True)
    table.add_column("reason", style="yellow", no_wrap=True, ratio=1)
    table.add_column("for example", no_wrap=True)
    kinds: dict[Kind, list[DeadLetterView]] = {}
    for letter in letters:
        kinds.setdefault(kind_of(letter), []).append(letter)
    ranked = sorted(kinds.values(), key=len, reverse=True)
    for kind in ranked[:_REASONS]:
        one = kind[0]
        reason = Text(printable(why(one)))
        order = Text(f"order {printable(one.order_id or 'without a key')}")
        table.add_row(f"{len(kind):,}", Text(printable(one.stage or "-")), reason, order)
    if rest := ranked[_REASONS:]:
        table.add_row(f"{sum(map(len, rest)):,}", "", f"for {len(rest)} other reasons", "")
    return table


class _PipedConsole(Console):
    """Ends the run when nobody reads any more, as after `head` has seen its lines.

    By cancelling whoever prints: rich would end the process at once, and what was started would stay behind.
    """

    def on_broken_pipe(self) -> None:
        self.quiet = True
        # Python would complain at its end of what it still has in its buffer.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)
        raise asyncio.CancelledError


class Screen:
    """Tells what happens as it happens: with a spinner on a terminal, in plain lines elsewhere.

    Arguments:
        console: where to, if neither to standard output nor to standard error.
        stderr: to standard error. What is no terminal is given the demo's width.
    """

    def __init__(self, console: Console | None = None, *, stderr: bool = False) -> None:
        self.console = console or _PipedConsole(highlight=False, stderr=stderr)
        if not self.console.is_terminal or self.console.width > WIDTH:
            self.console.width = WIDTH

    @property
    def unread(self) -> bool:
        """Whether whoever read it has gone."""
        return self.console.quiet

    def begin(self, what: str) -> None:
        """Say what this is and why it matters."""
        self.console.print(
            Panel(
                Text.assemble(
                    (what, "bold"),
                    " through a real Apache Kafka and a real Faust worker, started for this alone. Each paid "
                    "order must reach four systems exactly once, or be kept with the reason why not: a shop "
                    "pays for every one that is lost or doubled. So in the end, all are counted.",
                ),
                title="[bold]paystream demo[/]",
                border_style="cyan",
            )
        )

    @contextmanager
    def step(self, doing: str) -> Iterator[Step]:
        """Show a step while it is being done, and how long it took."""
        step = Step(doing)
        began = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(doing) as status:
                step.on_progress = status.update
                yield step
        else:
            yield step
        took = f"{time.monotonic() - began:.1f} s"
        line = Table.grid(expand=True, padding=(0, 1, 0, 0))
        line.add_column(ratio=1)
        line.add_column(justify="right", style="dim", no_wrap=True)
        line.add_row(Text.assemble(("✓ ", "green"), step.done), took)
        self.console.print(line)

    def show(self, result: Result) -> None:
        """Show the final screen."""
        self.console.print(render(result))

    def invite(self, result: Result, settings: Settings, program: str) -> None:
        """Say what can be tried while everything is still up."""
        lines = [
            f"[bold]Still up until Ctrl-C.[/] Live statistics: [cyan]http://127.0.0.1:{settings.web.port}/[/]",
            f"The platform's Parquet files: [cyan]{escape(settings.platform.folder)}[/]",
            "To look closer, in another terminal:",
            *(f"  export {escape(each)}" for each in _variables(settings)),
            f"  {program} analytics report --by sku --top 5",
            f"  {program} platform check",
            f"  {program} lanes list",
        ]
        if result.letters:
            one = result.letters[0]
            lines.append(f"  {program} dead-letters show {one.topic} {one.partition} {one.offset}")
        for line in lines:
            self.console.print(line, soft_wrap=True)

    def end(self) -> None:
        """Say that everything is being stopped."""
        # A terminal that was closed is one way of asking for the end, and so is a pipe's other end.
        with suppress(OSError, asyncio.CancelledError):
            self.console.print("\nStopping the worker and Kafka …")


def _variables(settings: Settings) -> Iterator[str]:
    """Give what leads other commands to the demo, as a shell takes it."""
    values = {
        "KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "DATABASE__URL": settings.database.url.get_secret_value(),
        "PLATFORM__FOLDER": settings.platform.folder,
        "WEB__PORT": str(settings.web.port),
    }
    for name, value in values.items():
        yield f"{PREFIX}{name}={shlex.quote(value)}"


class Step:
    """One step; `done` is what is said of it at its end."""

    def __init__(self, doing: str) -> None:
        self.done = doing
        self.on_progress: Callable[[str], None] = lambda text: None
