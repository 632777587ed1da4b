"""The three guarantees, with two workers that are killed, frozen and crashed while they work."""

from __future__ import annotations

import asyncio
import random
import re
from dataclasses import dataclass, field

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from support.census import Census, census_of
from support.kafka import admin, committed, end_offsets, members, produce, wait_until_consumed
from support.payments import Payment, payments, raws
from support.waiting import eventually
from support.worker import CRASHED, KILLED, TRY_AGAIN, Crew, Worker

from streams.topics import PAYMENT_COMPLETED

_PAYMENTS = 20_000
_SEED = 20101201
# Small shares of work, so that there is always some left to be killed in the middle of.
_SHARES = 14
# Killed no later than this part of a share, so that the rest is in the victim's hands or still to be fetched.
_LATEST_KILL = 0.6
_FREEZE_ATTEMPTS = 4

pytestmark = pytest.mark.deadline(180)


@dataclass(slots=True)
class Story:
    """What was done to the workers."""

    crashes: int = 0
    kills: int = 0
    kills_at_work: int = 0
    """Kills that left records of the victim's own partitions uncommitted."""
    freezes: int = 0
    fenced: int = 0
    """Lanes that found, after the thaw, that another worker had taken over."""
    ends: list[int] = field(default_factory=list)
    """The exit statuses of workers that ended by themselves."""

    def __str__(self) -> str:
        return (
            f"seed {_SEED}: {self.crashes} crash points, {self.kills} SIGKILLs ({self.kills_at_work} with work in "
            f"hand), {self.freezes} SIGSTOP beyond the session ({self.fenced} lanes fenced), ended by themselves: "
            f"{self.ends or 'none'}"
        )


class Ordeal:
    """Two workers, a stream of payments, and what befalls them."""

    def __init__(self, crew: Crew, client: AIOKafkaAdminClient, guarantee: str) -> None:
        self.story = Story()
        self.sent: list[Payment] = payments(range(_PAYMENTS))
        self._crew = crew
        self._client = client
        self._random = random.Random(_SEED)
        # Static members: a worker that comes back within its session gets its partitions back at once.
        self.one, self.two = (
            crew.hire(
                name,
                DELIVERY__GUARANTEE=guarantee,
                DELIVERY__MAX_BATCH_RECORDS="200",
                KAFKA__INSTANCE_ID=name,
            )
            for name in ("one", "two")
        )
        size = -(-_PAYMENTS // _SHARES)
        self._shares = [self.sent[start : start + size] for start in range(0, _PAYMENTS, size)]

    async def run(self, crash_at: str | None = None) -> Census:
        """Let everything befall them, wait until all is consumed, and look for every payment."""
        if crash_at is not None:
            await self._crash(self.one, crash_at)
        await asyncio.gather(self.one.start().ready(), self.two.start().ready())
        for victims in ([self.one], [self.two], [self.one], [self.two], [self.one, self.two]):
            await self._kill_at_work(victims)
        await self._freeze_beyond_the_session(self.one)
        while self._shares:
            await self._feed()
        await self._consumed()
        census = await census_of(self._crew.servers, self.sent)
        print(f"\n{self.story}\n{census}")
        assert self.story.kills_at_work >= self.story.kills / 2, "most kills came too late to mean anything"
        return census

    async def _crash(self, worker: Worker, crash_at: str) -> None:
        """Let a worker die exactly where its guarantee is weaker than exactly-once."""
        await self._feed()
        worker.start(CRASH_AT=crash_at)
        assert await worker.ended() == CRASHED
        self.story.crashes += 1

    async def _kill_at_work(self, victims: list[Worker]) -> None:
        """Kill at a random moment of the work on a share, and start again as a supervisor would."""
        await self._work_on_a_share()
        for victim in victims:
            victim.kill()
            assert victim.status == KILLED, f"{victim.name} had ended with {victim.status}"
            self.story.kills += 1
        for victim in victims:
            self.story.kills_at_work += await self._lag_of(victim) > 0
        await asyncio.gather(*(victim.start().ready() for victim in victims))

    async def _freeze_beyond_the_session(self, frozen: Worker) -> None:
        """Freeze a worker with work in hand, let the other one do that work, and thaw it: a zombie."""
        await self._freeze_at_work(frozen)

        async def missed() -> bool:
            return len(await members(self._client, self._crew.group())) == 1

        await eventually(missed, f"{frozen.name} to be missed", every=0.2)
        await self._feed()
        await self._consumed()
        starts = frozen.starts
        assignments = frozen.said().count("has partitions")
        frozen.thaw()
        await self._feed()

        def back() -> bool:
            self._mend()
            return frozen.starts > starts or frozen.said().count("has partitions") > assignments

        await eventually(back, f"{frozen.name} to notice that it was missed", every=0.1)
        self.story.fenced += frozen.log.read_text().count("LaneFenced")

    async def _freeze_at_work(self, worker: Worker) -> None:
        for _ in range(_FREEZE_ATTEMPTS):
            await self._work_on_a_share()
            worker.freeze()
            if await self._lag_of(worker):
                self.story.freezes += 1
                return
            worker.thaw()
        raise AssertionError(f"{worker.name} had never work in hand when it was frozen")

    def _mend(self) -> None:
        """Start again who ended, as a supervisor would; only delivery in doubt is a reason to end."""
        for worker in (self.one, self.two):
            if worker.status is not None:
                assert worker.status == TRY_AGAIN, f"{worker.name} ended with {worker.status}"
                self.story.ends.append(worker.status)
                worker.start()

    # -- work ------------------------------------------------------------------------------------

    async def _work_on_a_share(self) -> None:
        """Give them a share of the payments, and return when a random part of it is done."""
        goal = await self._progress() + self._random.uniform(0, _LATEST_KILL) * len(self._shares[0])
        await self._feed()

        async def reached() -> bool:
            return await self._progress() > goal

        await eventually(reached, "work to be in progress", every=0.002)

    async def _feed(self) -> None:
        await produce(self._crew.servers, PAYMENT_COMPLETED, raws(self._shares.pop(0)))

    async def _progress(self) -> int:
        return sum((await committed(self._client, self._crew.group(), PAYMENT_COMPLETED)).values())

    async def _lag_of(self, worker: Worker) -> int:
        """Count the uncommitted records of a worker's own partitions; it must not be running."""
        listing = re.findall(rf"payments has partitions ({PAYMENT_COMPLETED}.*)", worker.said())[-1]
        own = [int(partition) for partition in re.findall(r"-(\d+)", listing)]
        ends = await end_offsets(self._crew.servers, PAYMENT_COMPLETED)
        done = await committed(self._client, self._crew.group(), PAYMENT_COMPLETED)
        return sum(ends[each] - done.get(each, 0) for each in own)

    async def _consumed(self) -> None:
        await wait_until_consumed(self._crew.servers, self._crew.group(), PAYMENT_COMPLETED)


async def test_exactly_once_leaves_every_payment_in_every_output_once(crew: Crew) -> None:
    async with admin(crew.servers) as client:
        census = await Ordeal(crew, client, "exactly_once").run()
    assert census.exact, str(census)


async def test_at_least_once_doubles_what_was_in_hand_and_loses_nothing(crew: Crew) -> None:
    async with admin(crew.servers) as client:
        census = await Ordeal(crew, client, "at_least_once").run("after_send:5")
    assert not census.missing, str(census)
    assert not census.strays, str(census)
    assert census.doubled, "a worker died between its outputs and its offset, and nothing was doubled"


async def test_at_most_once_loses_what_was_in_hand_and_doubles_nothing(crew: Crew) -> None:
    async with admin(crew.servers) as client:
        census = await Ordeal(crew, client, "at_most_once").run("after_offsets:5")
    assert not census.doubled, str(census)
    assert not census.strays, str(census)
    assert census.missing, "a worker died between its offset and its outputs, and nothing was lost"
