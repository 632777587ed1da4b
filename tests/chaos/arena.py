"""The arena: topics, a stream of payments from the ledger, workers under a supervisor, and a history at the end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import NewTopic
from support.kafka import admin, read_topic, wait_until_consumed
from support.waiting import eventually

from chaos.checker import Verdict, check
from chaos.figures import Figure, tell
from chaos.history import Acknowledged, Effect, Event, Letter, Place, Produced, as_lines
from chaos.ledger import Ledger
from chaos.progress import Progress
from chaos.worker import ChaosWorker, supervise
from streams.dead_letters.writing import FAILED_AT, SPRING
from streams.kafka.clients import close_hard

PARTITIONS = 4
# A worker does some 170 slow payments a second and partition: this lasts for more than ten seconds.
_BACKLOG = 2_000
_CHUNK = 100
# Longer than any fault: a payment that the ledger has written is to be acknowledged in the end.
_PRODUCE_SECONDS = 120
# A fault's effect on a partition is seen to begin within this time, and so its end is waited for.
_SETTLE_SECONDS = 3.0
_STEADY_SECONDS = 2.0
_HEALING_SECONDS = 90.0
_BEFORE_ALL = 1_000_000


Opener = Callable[..., AbstractAsyncContextManager["Arena"]]
"""Opens an arena: bootstrap address, copies, ledger."""


class Arena:
    """One run.

    Arguments:
        run: its name in the table of figures.
        servers: bootstrap address.
        folder: for logs and what the workers share.
        ledger: what to produce.
        copies: replication of the topics; with three, two of them acknowledge.
    """

    def __init__(self, run: str, servers: str, folder: Path, ledger: Ledger, copies: int = 1) -> None:
        self.run = run
        self.servers = servers
        self.folder = folder
        self.ledger = ledger
        self.copies = copies
        self.app_id = f"chaos-{uuid.uuid4().hex[:8]}"
        self.group = f"{self.app_id}.obedient"
        self.topic, self.output = f"{self.app_id}.payments", f"{self.app_id}.effects"
        self.dead_letters = self.topic + ".DLT"
        self.workers: list[ChaosWorker] = []
        self.ends: Counter[int] = Counter()
        self.acknowledged: list[Acknowledged] = []
        self.history: list[Event] = []
        self.progress = Progress(servers, self.group, self.topic, range(PARTITIONS))
        self._written = dict.fromkeys(range(PARTITIONS), 0)
        self._feeding: list[asyncio.Task[None]] = []
        self._streaming = False
        self._kept: list[Letter] = []
        self._starved: dict[int, float] = {}
        self._producer: AIOKafkaProducer | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Arena]:
        """Make the topics, and end all workers at the end."""
        self.folder.mkdir(exist_ok=True)
        await self.create_topics(self.topic, self.output, self.dead_letters)
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self.servers,
            enable_idempotence=True,
            max_batch_size=1_000_000,
            request_timeout_ms=_PRODUCE_SECONDS * 1_000,
        )
        await self._producer.start()
        supervisor = asyncio.create_task(supervise(self.workers, self.ends))
        try:
            async with self.progress.watched():
                yield self
        finally:
            self._streaming = False
            tasks = [supervisor, *self._feeding]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for worker in self.workers:
                worker.wanted = False
                worker.kill()
            await close_hard(self._producer)  # a flush would wait for brokers that a failed test has left dead

    async def create_topics(self, *names: str, **config: str) -> None:
        """Create topics and wait until every copy is in sync."""
        options = {"min.insync.replicas": "2" if self.copies > 2 else "1"}
        options |= {name.replace("_", "."): value for name, value in config.items()}
        async with admin(self.servers) as client:
            await client.create_topics(
                [NewTopic(name, PARTITIONS, self.copies, topic_configs=options) for name in names]
            )

            async def ready() -> bool:
                shapes = await client.describe_topics(list(names))
                parts = [part for shape in shapes for part in shape["partitions"]]
                return len(parts) == len(names) * PARTITIONS and all(len(p["isr"]) == self.copies for p in parts)

            await eventually(ready, f"{names} to be ready", every=0.1)

    # -- workers ---------------------------------------------------------------------------------

    def hire(self, name: str, *, variables: dict[str, str] | None = None, **options: str) -> ChaosWorker:
        """Make a worker, not started; `options` are settings without their prefix."""
        own = {"CHAOS_TOPIC": self.topic, "CHAOS_OUTPUT": self.output, "CHAOS_FOLDER": str(self.folder)}
        worker = ChaosWorker(name, self.app_id, self.servers, self.folder, {**own, **(variables or {})}, options)
        self.workers.append(worker)
        return worker

    async def staff(self, count: int) -> list[ChaosWorker]:
        """Hire and start workers, and wait until they are ready."""
        crew = [self.hire(f"worker-{number}").start() for number in range(1, count + 1)]
        return list(await asyncio.gather(*(each.ready(60) for each in crew)))

    def handled(self) -> Counter[Place]:
        """Count the calls of the handler for each record."""
        lines = [line.split() for file in self.folder.glob("handled-*") for line in file.read_text().splitlines()]
        return Counter(Place(int(partition), int(offset)) for partition, offset in lines)

    # -- payments --------------------------------------------------------------------------------

    async def write(self, partition: int, count: int) -> None:
        """Produce the ledger's next records of a partition, and return when they are acknowledged."""
        assert self._producer is not None
        builder = self._producer.create_batch()
        raws = self.ledger.write(partition, count)
        for raw in raws:
            room = builder.append(timestamp=None, key=raw.key, value=raw.value, headers=list(raw.headers))
            assert room is not None
        sent = await self._producer.send_batch(builder, self.topic, partition=partition)
        offset = (await sent).offset
        for index, raw in enumerate(raws):
            self.acknowledged.append(Acknowledged(Place(partition, offset + index), _text(dict(raw.headers)["ce_id"])))
        self._written[partition] = offset + count

    def next_offset(self, partition: int) -> int:
        """Return the offset that the next record written to a partition will have."""
        return self._written[partition]

    def lags(self) -> dict[int, int]:
        """Count the records of each partition that are written and not consumed."""
        return {each: written - self.progress.committed[each] for each, written in self._written.items()}

    def feed(self) -> None:
        """Keep some seconds of slow work before every partition from now on."""
        (self.folder / "slow").touch()
        self._streaming = True
        self._feeding = [asyncio.create_task(self._keep_fed(each)) for each in range(PARTITIONS)]

    async def _keep_fed(self, partition: int) -> None:
        while self._streaming:
            lag = self.lags()[partition]
            if lag <= 0:
                self._starved[partition] = time.monotonic()
            if lag < _BACKLOG:
                await self.write(partition, _CHUNK)
            else:
                await asyncio.sleep(0.05)

    async def steady(self) -> None:
        """Wait until every partition moves."""

        def moving() -> bool:
            self.unharmed()
            now = time.monotonic()
            return all(now - self.progress.last(each) < _STEADY_SECONDS for each in range(PARTITIONS))

        await eventually(moving, "every partition to move", seconds=_HEALING_SECONDS, every=0.1)

    def unharmed(self) -> None:
        """Raise what ended the stream of payments, if something did."""
        for task in self._feeding:
            if task.done():
                task.result()

    async def measure(self, what: str, fault: Callable[[], Awaitable[object]], bound: float | None = None) -> Figure:
        """Do something terrible, wait until every partition moves again, and tell how long one did not."""
        await self.steady()
        began = time.monotonic()
        await fault()
        after = max(time.monotonic(), began + _SETTLE_SECONDS)

        def moved() -> bool:
            self.unharmed()
            return all(self.progress.last(each) > after for each in range(PARTITIONS))

        await eventually(moved, f"every partition to move after: {what}", seconds=_HEALING_SECONDS, every=0.1)
        stalls = self.progress.stalls(began, time.monotonic())
        hungry = [each for each in stalls if self._starved.get(each, 0.0) > began]
        note = f" (partitions {hungry} were without work)" if hungry else ""
        return tell(Figure(self.run, what + note, max(stalls.values()), bound))

    async def keep_letters(self) -> int:
        """Remember the dead letters that there are, because their topic is about to go; return how many."""
        found = await self._letters()
        # What will be written to a topic made anew comes after them, though its offsets begin at 0 again.
        self._kept += [replace(each, at=Place(each.at.partition, each.at.offset - _BEFORE_ALL)) for each in found]
        return len(found)

    async def clock_errors(self) -> list[float]:
        """Tell how wrong the workers' clocks were, in seconds, when they wrote their dead letters."""
        letters = await read_topic(self.servers, self.dead_letters)
        return [
            datetime.fromisoformat(_header(each, FAILED_AT).replace("Z", "+00:00")).timestamp() - time.time()
            for each in letters
        ]

    # -- the end ---------------------------------------------------------------------------------

    async def verdict(self) -> Verdict:
        """Stop producing, let everything be consumed at full speed, read it all, and judge."""
        self.unharmed()
        self._streaming = False
        await asyncio.gather(*self._feeding)
        self._feeding = []
        assert self._producer is not None
        await self._producer.flush()
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "slow").unlink()
        began = time.monotonic()
        await wait_until_consumed(self.servers, self.group, self.topic, seconds=_HEALING_SECONDS)
        tell(Figure(self.run, "the rest consumed, once the stream ended", time.monotonic() - began))
        self.history = await self._read()
        (self.folder / "history.jsonl").write_text(as_lines(self.history))
        verdict = check(self.history)
        tell(Figure(self.run, f"payments produced (seed {self.ledger.seed})", verdict.produced, unit=""))
        tell(Figure(self.run, "effects", verdict.effects, unit=""))
        tell(Figure(self.run, "dead letters", verdict.letters, unit=""))
        tell(Figure(self.run, "anomalies", len(verdict.findings), 0, unit=""))
        tell(Figure(self.run, "handler calls beyond one a payment", self._repeated(), unit=""))
        if self.ends:
            told = ", ".join(f"{count} with {status}" for status, count in sorted(self.ends.items()))
            tell(Figure(self.run, f"worker processes that ended by themselves: {told}", self.ends.total(), unit=""))
        return verdict

    def _repeated(self) -> int:
        calls = self.handled()
        return calls.total() - len(calls)

    async def _read(self) -> list[Event]:
        source, effects = [
            await read_topic(self.servers, topic, seconds=_HEALING_SECONDS) for topic in (self.topic, self.output)
        ]
        history: list[Event] = [*self.acknowledged, *self._kept, *await self._letters()]
        for record in source:
            id = _header(record, "ce_id")
            history.append(Produced(_place(record), id, _text(record.key), self.ledger.fates[id], _digest(record)))
        for record in effects:
            origin = Place(*json.loads(record.value)["source"])
            history.append(Effect(_place(record), origin, _header(record, "ce_id"), _text(record.key)))
        return history

    async def _letters(self) -> list[Letter]:
        return [
            Letter(_place(record), _origin(record), _header(record, "ce_id"), _text(record.key), _digest(record))
            for record in await read_topic(self.servers, self.dead_letters, seconds=_HEALING_SECONDS)
        ]


def _origin(record: ConsumerRecord) -> Place:
    headers = dict(record.headers)
    partition, offset = (headers[f"{SPRING}original-{name}"] for name in ("partition", "offset"))
    return Place(int.from_bytes(partition, "big"), int.from_bytes(offset, "big"))


def _place(record: ConsumerRecord) -> Place:
    return Place(record.partition, record.offset)


def _header(record: ConsumerRecord, name: str) -> str:
    return _text(dict(record.headers)[name])


def _text(value: bytes | None) -> str:
    return (value or b"").decode()


def _digest(record: ConsumerRecord) -> str:
    return hashlib.sha256(record.value or b"").hexdigest()[:16]
