"""Workers that are killed, frozen, stopped, blocked and starved of memory: nothing is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request

import pytest
from support.kafka import admin, members
from support.waiting import eventually
from support.worker import KILLED, TRY_AGAIN

from chaos.arena import Arena, Opener
from chaos.figures import Figure, exceeded, tell
from chaos.ledger import Fate, Ledger
from chaos.worker import ChaosWorker
from streams.sandbox import Cluster

_SESSION = 6.0
"""Seconds; the workers' setting, see ``support.worker``."""
_MISSED = _SESSION + 5
_STOPPED = 10.0
_STORM_SECONDS = 30.0


async def _all_at_work(arena: Arena) -> None:
    """Wait until every worker is in the group: who was killed, or woke up as a zombie and ended, is started again."""
    async with admin(arena.servers) as client:

        async def there() -> bool:
            started = all(each.running and f"{arena.group} has partitions" in each.said() for each in arena.workers)
            return started and len(await members(client, arena.group)) == len(arena.workers)

        await eventually(there, "every worker to be at work", seconds=60, every=0.1)


async def _sigkill(arena: Arena, worker: ChaosWorker, *, replaced: bool) -> None:
    async def fault() -> None:
        worker.wanted = replaced
        worker.kill()

    how = "started again at once" if replaced else "not replaced"
    await arena.measure(f"SIGKILL of a worker, {how}", fault, _MISSED)
    if not replaced:
        await worker.start().ready()


async def _sigterm(arena: Arena, worker: ChaosWorker) -> None:
    await _all_at_work(arena)
    asked = 0.0

    async def fault() -> None:
        nonlocal asked
        asked = time.monotonic()
        assert await worker.terminate() == 0
        tell(Figure(arena.run, "a busy worker's end after SIGTERM", time.monotonic() - asked, _STOPPED))

    await arena.measure("SIGTERM of a worker: stall", fault, _MISSED)
    await worker.start().ready()


async def _zombie(arena: Arena, worker: ChaosWorker) -> None:
    """Freeze a worker until its group has given its partitions away, and let it wake up to that."""
    await _all_at_work(arena)
    async with admin(arena.servers) as client:
        expected = len(arena.workers)

        async def missed() -> bool:
            return len(await members(client, arena.group)) < expected

        async def fault() -> None:
            worker.freeze()
            await eventually(missed, "the frozen worker to be missed", every=0.2)

        await arena.measure("SIGSTOP of a worker beyond its session", fault, _MISSED)

        async def thaw() -> None:
            worker.thaw()

        await arena.measure("SIGCONT of that zombie", thaw, _MISSED)


async def _die_in_the_handler(arena: Arena) -> None:
    async def fault() -> None:
        before = arena.ends[KILLED]
        arena.ledger.plant(0, Fate.DIE)
        # What is ahead of it takes some seconds.
        await eventually(lambda: arena.ends[KILLED] > before, "a worker to die of the payment", seconds=60)

    await arena.measure("out of memory: killed in the handler (wait included)", fault)


def _no_answer(worker: ChaosWorker) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.web_port}/health/live/", timeout=1.0) as answer:
            answer.read()
    except (TimeoutError, urllib.error.URLError):
        return True
    return False


async def _block(arena: Arena) -> None:
    """A handler that blocks the loop: the session ends, others take over; the orchestrator's probe fails."""
    marks = len(list(arena.folder.glob("once-block-*")))
    arena.ledger.plant(1, Fate.BLOCK)
    await eventually(lambda: len(list(arena.folder.glob("once-block-*"))) > marks, "a worker to be blocked", seconds=60)
    blocked_at = time.monotonic()
    silent: list[ChaosWorker] = []

    async def found() -> bool:
        answers = await asyncio.gather(*(asyncio.to_thread(_no_answer, each) for each in arena.workers))
        silent[:] = [each for each, none in zip(arena.workers, answers, strict=True) if none and each.running]
        return len(silent) == 1

    await eventually(found, "one liveness page not to answer")
    tell(Figure(arena.run, "a blocked handler: until its page was found silent", time.monotonic() - blocked_at))

    async def nothing() -> None:
        """The group does it: the blocked worker sends no heartbeats."""

    async with admin(arena.servers) as client:

        async def missed() -> bool:
            return len(await members(client, arena.group)) < len(arena.workers)

        await eventually(missed, "the blocked worker to be missed", every=0.1)

    def others_took_over() -> bool:
        now = time.monotonic()
        return all(now - arena.progress.last(each) < 1.0 for each in arena.progress.committed)

    await eventually(others_took_over, "others to take over", every=0.05)
    stalls = arena.progress.stalls(blocked_at, time.monotonic())
    tell(Figure(arena.run, "a blocked handler: stall until others took over", max(stalls.values()), _MISSED))
    (victim,) = silent
    assert await asyncio.to_thread(_no_answer, victim), "a handler that blocks for ever came back"
    victim.kill()  # as an orchestrator does whose probe fails; the supervisor starts it again
    await victim_back(victim)


async def victim_back(worker: ChaosWorker) -> None:
    starts = worker.starts
    await eventually(lambda: worker.starts > starts, f"{worker.name} to be started again")
    await worker.ready()


# -- the short form ------------------------------------------------------------------------------------


@pytest.mark.deadline(120)
async def test_workers_killed_frozen_and_stopped(kafka: Cluster, arena: Opener) -> None:
    async with arena(kafka.bootstrap_servers) as field:
        one, two = await field.staff(2)
        field.feed()
        await _sigkill(field, one, replaced=True)
        await field.steady()
        await _zombie(field, two)
        await _sigterm(field, two)
        verdict = await field.verdict()
    assert verdict.exact, str(verdict)
    assert verdict.letters
    assert set(field.ends) <= {KILLED, TRY_AGAIN}, field.ends


# -- the long form -------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.deadline(400)
async def test_three_workers_through_every_fault(kafka: Cluster, arena: Opener) -> None:
    async with arena(kafka.bootstrap_servers) as field:
        one, two, three = await field.staff(3)
        field.feed()
        await _sigkill(field, one, replaced=True)
        await _sigkill(field, two, replaced=False)
        await _sigterm(field, three)
        await _zombie(field, one)
        await _zombie(field, two)
        await _die_in_the_handler(field)
        await field.steady()
        await _block(field)
        verdict = await field.verdict()
    assert verdict.exact, str(verdict)
    assert set(field.ends) <= {KILLED, TRY_AGAIN}, field.ends
    assert not exceeded(field.run)


@pytest.mark.long
@pytest.mark.deadline(240)
async def test_a_storm_of_starts_and_stops(kafka: Cluster, arena: Opener) -> None:
    async with arena(kafka.bootstrap_servers) as field:
        crew = await field.staff(3)
        field.feed()
        await field.steady()
        began = time.monotonic()
        turns = 0
        while time.monotonic() < began + _STORM_SECONDS:
            worker = crew[turns % 3]
            turns += 1
            if turns % 4 == 0:
                worker.kill()  # the supervisor starts it again
            elif worker.running:
                assert await worker.terminate() == 0
            await asyncio.sleep(1.0)
            if not worker.running and not worker.wanted:
                worker.start()
        stalls = field.progress.stalls(began, time.monotonic())
        tell(Figure(field.run, f"{turns} stops in {_STORM_SECONDS:g} s: longest stall meanwhile", max(stalls.values())))
        ended = time.monotonic()
        await field.steady()
        tell(Figure(field.run, "until every partition moved after the storm", time.monotonic() - ended, _MISSED))
        verdict = await field.verdict()
    assert verdict.exact, str(verdict)
    assert not exceeded(field.run)


@pytest.mark.long
@pytest.mark.deadline(180)
async def test_a_rolling_restart_of_static_members_delivers_nothing_again(kafka: Cluster, arena: Opener) -> None:
    ledger = Ledger(1, shares={}, twice=0.0)
    async with arena(kafka.bootstrap_servers, ledger=ledger) as field:
        crew = [
            field.hire(name, KAFKA__INSTANCE_ID=name, KAFKA__SESSION_TIMEOUT="20").start()
            for name in ("one", "two", "three")
        ]
        await asyncio.gather(*(each.ready(60) for each in crew))
        field.feed()
        await field.steady()
        # Members that join one by one are given their partitions anew each time; that is over now.
        settled = field.handled().total()
        for worker in crew:

            async def restart(worker: ChaosWorker = worker) -> None:
                asked = time.monotonic()
                assert await worker.terminate() == 0
                tell(Figure(field.run, "end after SIGTERM", time.monotonic() - asked, _STOPPED))
                await worker.start().ready()

            await field.measure("restart of a static member: stall", restart, 20.0)
        assert field.handled().total() > settled
        verdict = await field.verdict()
        calls = field.handled()
        tell(Figure(field.run, "payments delivered more than once", sum(each > 1 for each in calls.values()), 0, ""))
    assert verdict.exact, str(verdict)
    assert verdict.produced == len(calls)
    assert not exceeded(field.run)


@pytest.mark.long
@pytest.mark.deadline(180)
async def test_a_handler_that_takes_all_memory(kafka: Cluster, arena: Opener) -> None:
    async with arena(kafka.bootstrap_servers) as field:
        crew = [field.hire(name, variables={"CHAOS_MEMORY": str(512 * 1024 * 1024)}).start() for name in ("one", "two")]
        await asyncio.gather(*(each.ready(60) for each in crew))
        for partition in range(4):
            field.ledger.plant(partition, Fate.HOARD)
        field.feed()
        await eventually(
            lambda: len(list(field.folder.glob("once-hoard-*"))) == 4, "memory to run out four times", seconds=60
        )
        await field.measure("MemoryError in the handler: stall after it", _nothing, _MISSED)
        verdict = await field.verdict()
    assert verdict.exact, str(verdict)
    assert not exceeded(field.run)


async def _nothing() -> None:
    """What is to be measured has been done."""


@pytest.mark.long
@pytest.mark.deadline(180)
async def test_a_clock_that_jumps(kafka: Cluster, arena: Opener) -> None:
    """Python's clock, that is: aiokafka's compiled code stamps records by the system's, which nothing moves here."""
    shift = 3_600
    variables = {"CHAOS_CLOCK_SHIFT": str(shift)}
    async with arena(kafka.bootstrap_servers) as field:
        crew = [field.hire(name, variables=variables).start() for name in ("one", "two")]
        await asyncio.gather(*(each.ready(60) for each in crew))
        field.feed()
        await field.measure(f"wall clock of two workers ± {shift} s: stall", _wait_a_while, _MISSED)
        crew[0].kill()
        await victim_back(crew[0])
        verdict = await field.verdict()
        jumps = max(abs(each) for each in await field.clock_errors())
    assert verdict.exact, str(verdict)
    assert jumps > shift - 60, "the clock did not jump"
    assert not exceeded(field.run)


async def _wait_a_while() -> None:
    await asyncio.sleep(12)
