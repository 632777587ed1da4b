"""The comparison as a table that fits 100 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from streams.compare.outcome import SYSTEMS, Comparison, Killed, Outcome
from streams.dead_letters.text import printable

BEGIN: Final = (
    " goes two ways: as events inside the shop's process, synchronous and asynchronous, and through paystream "
    "on a real Apache Kafka. The orders are the same, the listeners' work is the same, and the same things go "
    "wrong. Then everything is counted."
)


def introduction(what: str) -> RenderableType:
    """Say what is going to happen."""
    return Panel(Text.assemble((what, "bold"), BEGIN), title="[bold]paystream compare[/]", border_style="cyan")


def render(comparison: Comparison) -> RenderableType:
    """Draw the results."""
    return Group(_table(comparison), _trails(comparison), _verdict(comparison))


def _table(comparison: Comparison) -> Table:
    table = Table(
        title="\nWhat was measured", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
        expand=True, show_edge=False, padding=(0, 1), pad_edge=True, show_lines=True,
    )  # fmt: skip
    table.add_column("", no_wrap=True)
    for way in comparison.ways:
        table.add_column(way.name, ratio=1, style="green" if way is comparison.paystream else "")
    for question, answers in _rows(comparison):
        table.add_row(Text(question), *[Text(answer) for answer in answers])
    return table


def _rows(comparison: Comparison) -> Iterator[tuple[str, list[str]]]:
    ways, orders = comparison.ways, comparison.orders
    yield (
        f"nothing fails:\neffects of {orders} orders",
        [f"{way.calm.found} of {orders * len(SYSTEMS)}" for way in ways],
    )
    yield (
        f"a listener takes {comparison.delay_ms:.0f} ms:\nthe shop waits, per order",
        [f"{way.waited.median:.1f} ms\n(slowest {way.waited.slowest:.0f} ms)" for way in ways],
    )
    struck = max(len(way.faulty.struck) for way in ways)
    yield f"a listener fails for {struck} orders:\neffects lost", [failing(way.faulty) for way in ways]
    yield (
        "SIGKILL half-way, then a restart:\norders of which not all four heard",
        [killing(way.killed) for way in ways],
    )
    yield (
        "a consumer is added:\npast orders that it gets",
        [f"{way.newcomer.received} of {way.newcomer.past}" for way in ways],
    )


def failing(outcome: Outcome) -> str:
    """Say what became of the orders that failed."""
    missing = {system: orders.total() for system, orders in outcome.missing().items() if orders}
    said = [f"{sum(missing.values())}", *(f"{count} {system}" for system, count in missing.items())]
    if recovered := outcome.recovered():
        said.append(f"{len(recovered)} orders recovered")
    if outcome.kept:
        said.append(f"{len(outcome.kept)} kept, see below")
    return "\n".join(said)


def killing(killed: Killed) -> str:
    """Say what became of the orders when the process was killed."""
    said = [f"{len(killed.outcome.incomplete())} of {killed.outcome.paid.total()}", f"({killed.in_hand} in hand)"]
    if killed.caught_up is not None:
        said.append(f"done after {killed.caught_up:.1f} s")
    if killed.outcome.doubled:
        said.append(f"{killed.outcome.doubled} effects doubled")
    return "\n".join(said)


def _trails(comparison: Comparison) -> RenderableType:
    text = Text.assemble("\n", (f"Where is order {printable(comparison.sample)} of the killed run?", "bold"), "\n")
    for way in comparison.ways:
        where = "in the topics, by their headers" if way is comparison.paystream else "in its log"
        text.append(f"{way.name}, {where}:\n", style="cyan")
        for line in way.trail or ("nothing",):
            text.append(f"  {printable(line)}\n")
    for kept in comparison.paystream.faulty.kept:
        if kept is comparison.paystream.faulty.kept[0]:
            text.append("\nKept by paystream when a listener failed\n", style="bold")
        text.append(f"  {kept.place}: order {printable(kept.order)}: {printable(kept.reason)}\n", style="yellow")
    return text


def _verdict(comparison: Comparison) -> Panel:
    problems = comparison.problems()
    if problems:
        body = Text("\n".join(f"✗ {each}" for each in problems))
        return Panel(body, title="[bold red]✗ paystream did not keep its promise[/]", border_style="red")
    lost = [f"{way.name} {way.calm.lost + way.faulty.lost + way.killed.outcome.lost}" for way in comparison.ways]
    total = 3 * comparison.orders * len(SYSTEMS)
    body = Text(f"Effects lost, of {total:,} in three runs: {' · '.join(lost)}. paystream doubled none.")
    return Panel(body, title="[bold green]✓ paystream lost nothing and doubled nothing[/]", border_style="green")
