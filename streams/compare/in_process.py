"""The old way: the shop and its listeners in one process, with the shop's own events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from streams.compare.outcome import SYSTEMS, Killed, Newcomer, Outcome, Waited, Way
from streams.compare.plan import Faults, Order
from streams.compare.shop import Shop, orders_in


class InProcess:
    """One variant of the old way.

    Arguments:
        name: of the variant.
        folder: for its runs.
        orders: all that customers pay for.
        options: of the shop's program.
    """

    def __init__(self, name: str, folder: Path, orders: Sequence[Order], *options: str) -> None:
        self.name = name
        self._folder = folder
        self._orders = orders
        self._options = options

    def _shop(self, run: str, faults: Faults) -> Shop:
        return Shop(self._folder / run, self._options, faults)

    async def calm(self, delay: float) -> tuple[Outcome, Waited, Newcomer]:
        """Take all orders, the last after a restart with a further listener; nothing fails."""
        shop = self._shop("calm", Faults(delay))
        past, new = self._orders[:-1], self._orders[-1:]
        await shop.take(past)
        await shop.take(new, "--loyalty")
        got = shop.told("loyalty")
        newcomer = Newcomer(len(past), sum(order.id in got for order in past), sum(order.id in got for order in new))
        return _outcome(shop), Waited.of(shop.waited()), newcomer

    async def faulty(self, faults: Faults) -> Outcome:
        """Take all orders while notifications fail for some."""
        shop = self._shop("faulty", faults)
        await shop.take(self._orders)
        return _outcome(shop)

    async def killed(self, delay: float) -> Killed:
        """Take half of the orders, die, and take the others after a restart."""
        shop = self._shop("killed", Faults(delay))
        left = await shop.take_and_die(self._orders, len(self._orders) // 2)
        in_hand = len(_outcome(shop).incomplete())
        await shop.take(left)
        return Killed(_outcome(shop), in_hand)

    def way(self, calm: tuple[Outcome, Waited, Newcomer], faulty: Outcome, killed: Killed) -> Way:
        """Put together how it did; the trail is added when it is known whose."""
        outcome, waited, newcomer = calm
        return Way(self.name, outcome, waited, faulty, killed, newcomer)

    def with_trail(self, way: Way, order: str) -> Way:
        """Add what can be told of an order of the killed run: what somebody has logged."""
        return replace(way, trail=tuple(self._shop("killed", Faults()).log_lines(order)))


def _outcome(shop: Shop) -> Outcome:
    effects = {system: shop.told(system) for system in SYSTEMS}
    struck = frozenset(orders_in(shop.folder / "faults.jsonl"))
    return Outcome(shop.paid(), effects, struck=struck)
