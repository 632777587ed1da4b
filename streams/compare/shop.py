"""The shop as a process of its own, whatever it publishes to, and what is found in its folder afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from streams.compare.plan import EVERY, Faults, Order
from streams.failure.errors import InputError, PaystreamError
from streams.sandbox.process import kill, spawn, wait_for_end
from streams.settings import PREFIX

ROOT: Final = Path(__file__).parents[2]
PROGRAM: Final = "examples.in_process_events.shop"

# 150 orders of 50 ms take 8 s; a busy machine is slower.
_PATIENCE: Final = 60.0
_POLL: Final = 0.002
_TAIL_LINES: Final = 10


def require_example() -> None:
    """Check that the shop's program is there.

    Raises:
        InputError: paystream was installed without its source.
    """
    folder = ROOT / "examples" / "in_process_events"
    if not folder.is_dir():
        raise InputError(folder, "the shop's old way is part of the source only: run this from a checkout")


class Shop:
    """A shop with records of its own.

    Arguments:
        folder: for its records; made if need be.
        options: of its program.
        faults: what goes wrong in its listeners.
    """

    def __init__(self, folder: Path, options: Sequence[str] = (), faults: Faults | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / "shop.log"
        self._options = tuple(options)
        self._faults = faults or Faults()

    async def take(self, orders: Sequence[Order], *options: str) -> None:
        """Take orders in a process that ends when all of them are done.

        Raises:
            PaystreamError: it failed, or takes too long.
        """
        process = self._start(orders, options)
        try:
            if not await wait_for_end(process, _PATIENCE):
                raise PaystreamError(f"the shop has not ended within {_PATIENCE:.0f} s: {self._tail()}")
        finally:
            kill(process)
        if process.returncode:
            raise PaystreamError(f"the shop ended with status {process.returncode}: {self._tail()}")

    async def take_and_die(self, orders: Sequence[Order], paid: int) -> list[Order]:
        """Take orders until so many are paid, then die by SIGKILL; return those it did not get to.

        Raises:
            PaystreamError: it could not be killed in time.
        """
        process = self._start(orders, ())
        try:
            await self.until_paid(paid)
            alive = process.poll() is None
        finally:
            kill(process)
        if not alive:
            raise PaystreamError(f"the shop ended before it could be killed: {self._tail()}")
        done = self.paid()
        return [order for order in orders if order.id not in done]

    async def until_paid(self, count: int) -> None:
        """Wait until so many orders are paid.

        Raises:
            PaystreamError: that takes too long.
        """
        until = time.monotonic() + _PATIENCE
        while self.paid().total() < count:
            if time.monotonic() > until:
                raise PaystreamError(f"the shop has not taken {count} orders in {_PATIENCE:.0f} s: {self._tail()}")
            await asyncio.sleep(_POLL)

    def _start(self, orders: Sequence[Order], options: Sequence[str]) -> subprocess.Popen[bytes]:
        file = self.folder / "todo.jsonl"
        file.write_bytes(b"".join(order.body + b"\n" for order in orders))
        command = [
            sys.executable, "-m", PROGRAM, "--orders", str(file), "--folder", str(self.folder),
            "--every", str(EVERY), *self._options, *options,
        ]  # fmt: skip
        inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
        environment = {**inherited, "PYTHONPATH": str(ROOT), **self._faults.variable(self.folder / "faults.jsonl")}
        return spawn(command, self.log, environment)

    # -- what is found ---------------------------------------------------------------------------

    def paid(self) -> Counter[str]:
        """Return the orders it has recorded as paid, in their order."""
        return orders_in(self.folder / "orders.jsonl")

    def told(self, system: str) -> Counter[str]:
        """Return the orders that a system has been told of."""
        return orders_in(self.folder / f"{system}.jsonl")

    def waited(self) -> list[float]:
        """Return how long each customer waited, in milliseconds."""
        return [line["ms"] for line in read_lines(self.folder / "checkouts.jsonl")]

    def log_lines(self, order: str) -> list[str]:
        """Return what its log says of an order."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if f"order {order}:" in line]

    def _tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(["the end of its log:", *(f"  {line}" for line in lines[-_TAIL_LINES:])])


def orders_in(path: Path) -> Counter[str]:
    """Count the orders that a file of JSON lines names."""
    return Counter(str(line["orderId"]) for line in read_lines(path))


def read_lines(path: Path) -> list[Mapping[str, Any]]:
    """Read JSON lines; none if there is no file. A last line without its end is no line yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
