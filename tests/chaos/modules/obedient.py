"""An agent that does with each payment what the payment says; see :mod:`chaos.ledger`.

``CHAOS_TOPIC``, ``CHAOS_OUTPUT``
    what it reads and where it writes.
``CHAOS_FOLDER``
    shared by all workers: ``slow`` in it makes each payment take some milliseconds, ``once-…`` says what has
    happened already, ``handled-…`` has a line for each call of the handler.
``CHAOS_MEMORY``
    bytes that it may take beyond what it has when it starts.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from chaos.history import effect_id
from chaos.ledger import Fate
from pydantic import BaseModel

from streams.app import app
from streams.delivery import Batch, Outbox, Record
from streams.failure.errors import DependencyUnavailable, PermanentError, TransientError

_TOPIC, _OUTPUT, _FOLDER = (os.environ[f"CHAOS_{name}"] for name in ("TOPIC", "OUTPUT", "FOLDER"))
_SLOW = os.path.join(_FOLDER, "slow")
_PACE_SECONDS = 0.005
_FOR_EVER = 3600
_MEBIBYTE = 1 << 20
# Unbuffered, so that a SIGKILL takes nothing of it.
_handled = os.open(os.path.join(_FOLDER, f"handled-{os.getpid()}"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
_failures: Counter[str] = Counter()

if "CHAOS_MEMORY" in os.environ:
    _pages = int(Path("/proc/self/statm").read_text().split()[0])
    _limit = _pages * resource.getpagesize() + int(os.environ["CHAOS_MEMORY"])
    resource.setrlimit(resource.RLIMIT_AS, (_limit, _limit))


class Payment(BaseModel):
    """What the ledger wrote."""

    id: str
    fate: Fate
    times: int


def _first(id: str, fate: Fate) -> bool:
    """Whether nobody has met this payment yet, in any process."""
    try:
        os.close(os.open(os.path.join(_FOLDER, f"once-{fate.value}-{id}"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _slow() -> bool:
    return os.path.exists(_SLOW)


def _fails(payment: Payment) -> bool:
    """Whether it is still to fail, in this process."""
    _failures[payment.id] += 1
    return _failures[payment.id] <= payment.times


async def obey(record: Record, out: Outbox) -> None:
    """Do what the payment says."""
    os.write(_handled, b"%d %d\n" % (record.partition, record.offset))
    if _slow():
        await asyncio.sleep(_PACE_SECONDS)
    payment = record.parse(Payment)
    value = json.dumps({"source": [record.partition, record.offset]}).encode()
    out.emit(_OUTPUT, value, headers=[("ce_id", effect_id(payment.id).encode())])  # to be taken back if it fails
    match payment.fate:
        case Fate.TRANSIENT if _fails(payment):
            raise TransientError("as often as it is told to")
        case Fate.PERMANENT:
            raise PermanentError("as it is told to")
        case Fate.DEPENDENCY if _fails(payment):
            raise DependencyUnavailable("the bank")
        case Fate.HANG if _first(payment.id, Fate.HANG):
            await asyncio.sleep(_FOR_EVER)
        case Fate.BLOCK if _first(payment.id, Fate.BLOCK):
            time.sleep(_FOR_EVER)  # noqa: ASYNC251 - what happens then is the question
        case Fate.HOARD if _first(payment.id, Fate.HOARD):
            hoard = []
            while True:
                hoard.append(bytearray(16 * _MEBIBYTE))
        case Fate.DIE if _first(payment.id, Fate.DIE):
            os.kill(os.getpid(), signal.SIGKILL)


@app.agent(app.batches(_TOPIC), concurrency=app.settings.delivery.concurrency)
async def obedient(stream: Any) -> AsyncIterator[Batch]:
    """Obey."""
    async for batch in stream:
        yield await batch.handle(obey)
