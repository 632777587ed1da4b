"""Files for the data platform: each record in exactly one, whatever dies, freezes or is full."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from aiokafka import TopicPartition
from click.testing import CliRunner, Result
from support.agent import lane_alone, running, unique
from support.damage import flip, segment, stored
from support.kafka import create_topic, produce, read_topic, recreate_declared_topics
from support.orders import order
from support.payments import Raw
from support.waiting import eventually

from agents.platform import handler
from models.platform import ADAPTER
from streams.commands.platform import platform as command
from streams.delivery import Outbox, Record
from streams.delivery.status import State
from streams.failure.errors import ExitStatus, LaneFenced, SetupError
from streams.platform.folder import Contents, Folder
from streams.platform.in_files import InFiles
from streams.platform.ranges import ASIDE, FileRange, WaitingFile
from streams.platform.rows import PlatformRow, as_batch, by_day
from streams.sandbox import Cluster
from streams.settings import FailureSettings, PlatformSettings, Settings, settings
from streams.topics import PLATFORM_ORDERS

AT_ONCE = {"roll_age": 0.001}


def in_files(folder: Path, **limits: float) -> InFiles:
    return InFiles(Folder(str(folder)), PlatformSettings.model_validate({"folder": str(folder), **limits}))


async def _topic(kafka: Cluster, partitions: int = 1) -> str:
    name = unique("orders")
    await create_topic(kafka.bootstrap_servers, name + ".DLT", partitions)
    return await create_topic(kafka.bootstrap_servers, name, partitions)


async def _send(kafka: Cluster, topic: str, numbers: range, days: int = 1, partitions: int = 1) -> None:
    raws = [Raw(number % partitions, b"%d" % number, order(number, 1 + number % days)) for number in numbers]
    await produce(kafka.bootstrap_servers, topic, raws)


def rows_in(folder: Path) -> list[int]:
    """The offsets that a reader finds, with the means of any reader of Hive folders."""
    if not any(folder.glob("dt=*/*")):  # a folder is there a moment before its file
        return []
    table = ds.dataset(str(folder), format="parquet", partitioning="hive").to_table()
    for row in table.select(["dt", "occurred_at"]).to_pylist():
        assert row["dt"] == row["occurred_at"].strftime("%Y-%m-%d")
    return sorted(table["source_offset"].to_pylist())


def ranges_in(folder: Path) -> list[tuple[int, int]]:
    return sorted({(each.covered.first, each.covered.next_offset) for each in Folder(str(folder)).listing().files})


def aside_in(folder: Path) -> list[str]:
    return sorted(each.name for each in (folder / ASIDE).glob("*"))


# -- rolling -----------------------------------------------------------------------------------------


async def test_records_land_in_folders_by_day_once_enough_have_come(kafka: Cluster, tmp_path: Path) -> None:
    topic = await _topic(kafka)
    await _send(kafka, topic, range(100), days=3)
    finish = in_files(tmp_path, roll_rows=100, roll_age=3600)
    async with running(kafka.bootstrap_servers, [topic], handler, max_batch_records=30, finish=finish) as agent:
        await agent.consumed()
    assert rows_in(tmp_path) == list(range(100))
    assert ranges_in(tmp_path) == [(0, 100)]
    assert len(list(tmp_path.glob("dt=*"))) == 3  # noqa: ASYNC240
    assert aside_in(tmp_path) == []


async def test_few_records_land_when_they_are_old_enough_and_large_ones_when_they_are_many_bytes(
    kafka: Cluster, tmp_path: Path
) -> None:
    topic, group = await _topic(kafka), unique("group")
    await _send(kafka, topic, range(5))
    async with running(
        kafka.bootstrap_servers, [topic], handler, group=group, finish=in_files(tmp_path, roll_age=0.5)
    ) as agent:
        await agent.consumed()
    assert ranges_in(tmp_path) == [(0, 5)]
    await _send(kafka, topic, range(5, 10))
    finish = in_files(tmp_path, roll_age=3600, roll_bytes=1)
    async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=finish):
        await eventually(lambda: rows_in(tmp_path) == list(range(10)), "the rest to land")
    assert ranges_in(tmp_path)[-1][1] == 10


async def test_what_a_worker_holds_is_committed_when_it_is_stopped(kafka: Cluster, tmp_path: Path) -> None:
    topic, group = await _topic(kafka, 2), unique("group")
    await _send(kafka, topic, range(40), partitions=2)
    await produce(kafka.bootstrap_servers, topic, [Raw(0, b"k", b"{}")])
    holding = in_files(tmp_path, roll_age=3600)
    async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=holding) as agent:
        await eventually(lambda: agent.handed_over() == 41, "all to be held")
        await eventually(lambda: agent.lane(0).state is State.FETCHING, "the lane to wait for more")
        assert rows_in(tmp_path) == []
        assert (agent.lane(0).lag, agent.lane(1).lag) == (21, 20), "what is held is not done"
    assert rows_in(tmp_path) == sorted([*range(20)] * 2)
    assert ranges_in(tmp_path) == [(0, 20), (0, 21)]
    assert len(await read_topic(kafka.bootstrap_servers, topic + ".DLT")) == 1


async def test_what_is_held_is_committed_before_a_lane_halts_so_that_resuming_goes_on(
    kafka: Cluster, tmp_path: Path
) -> None:
    topic = await _topic(kafka)
    await _send(kafka, topic, range(5))
    await produce(kafka.bootstrap_servers, topic, [Raw(0, b"k", b"{}") for _ in range(5)])
    await _send(kafka, topic, range(10, 15))
    failure = FailureSettings(backoff="fixed", initial_interval=0.02, max_retries=0, max_consecutive_dead_letters=3)
    finish = in_files(tmp_path, roll_age=3600)
    async with running(kafka.bootstrap_servers, [topic], handler, failure=failure, finish=finish) as agent:
        await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.HALTED, "the lane to halt")
        assert rows_in(tmp_path) == [*range(5)]
        assert len(await read_topic(kafka.bootstrap_servers, topic + ".DLT")) == 3
        agent.batches.clear()
        assert agent.source.resume(TopicPartition(topic, 0))
        await eventually(lambda: agent.handed_over() == 7, "the rest to be held")
    assert rows_in(tmp_path) == [*range(5), *range(10, 15)]
    assert len(await read_topic(kafka.bootstrap_servers, topic + ".DLT")) == 5


async def test_what_is_held_is_committed_before_a_batch_that_cannot_be_read_and_that_leaves_a_gap(
    kafka: Cluster, tmp_path: Path
) -> None:
    topic = await _topic(kafka)
    for first in (0, 5, 10):
        await _send(kafka, topic, range(first, first + 5))
    file, place = segment(kafka, topic), TopicPartition(topic, 0)
    flip(file, stored(file)[1], -1)
    finish = in_files(tmp_path, roll_age=900)
    async with running(kafka.bootstrap_servers, [topic], handler, finish=finish) as agent:
        await eventually(lambda: agent.source.damaged.of(place), "the lane to come upon it")
        await eventually(lambda: rows_in(tmp_path) == [*range(5)], "what was read before it to be shown")
        assert agent.source.give_up(place, 5, 10)
        await eventually(lambda: agent.handed_over() == 10, "what lies behind it to be read")
    assert rows_in(tmp_path) == [*range(5), *range(10, 15)]
    assert agent.source.meter.tally.skipped == {"lost": 5}


async def test_dead_letters_are_committed_with_the_files_around_them_and_leave_no_gap(
    kafka: Cluster, tmp_path: Path
) -> None:
    topic, group = await _topic(kafka), unique("group")
    for good in (False, True, False):
        values = [order(number) if good else b"{}" for number in range(3)]
        await produce(kafka.bootstrap_servers, topic, [Raw(0, b"k", value) for value in values])
        async with running(
            kafka.bootstrap_servers, [topic], handler, group=group, finish=in_files(tmp_path, **AT_ONCE)
        ) as agent:
            await agent.consumed()
    assert rows_in(tmp_path) == [3, 4, 5]
    assert ranges_in(tmp_path) == [(0, 6)], "the letters before belong to the range"
    assert len(await read_topic(kafka.bootstrap_servers, topic + ".DLT")) == 6


# -- crashes, zombies, outages -----------------------------------------------------------------------


class Broken(Folder):
    """A folder in which nothing can be moved, as if the process had died after its commit."""

    def publish(self, files: object, next_offset: int) -> None:
        raise PermissionError(13, "Permission denied")


async def test_files_that_were_committed_and_not_moved_are_moved_by_the_next_owner(
    kafka: Cluster, tmp_path: Path
) -> None:
    topic, group = await _topic(kafka), unique("group")
    await _send(kafka, topic, range(10), days=2)
    finish = InFiles(Broken(str(tmp_path)), PlatformSettings(folder=str(tmp_path), roll_age=0.001))
    async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=finish) as agent:
        await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.PAUSED, "the lane to pause")
        assert "Permission denied" in agent.lane(0).reason
    assert rows_in(tmp_path) == []
    assert len(aside_in(tmp_path)) == 2
    async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=in_files(tmp_path)):
        await eventually(lambda: rows_in(tmp_path) == list(range(10)), "the files to be shown")
    assert aside_in(tmp_path) == []


async def test_files_that_were_never_committed_are_deleted_and_written_anew(kafka: Cluster, tmp_path: Path) -> None:
    topic = await _topic(kafka)
    await _send(kafka, topic, range(10))
    folder = Folder(str(tmp_path))
    rows = [PlatformRow(ADAPTER.validate_json(order(number)), topic, 0, number) for number in range(7)]
    for day, table in by_day([as_batch(rows)]).items():
        folder.write_aside(WaitingFile(topic, 0, 0, "f" * 32, day), table)
        folder.write_aside(WaitingFile("another", 0, 0, "f" * 32, day), table)
    async with running(kafka.bootstrap_servers, [topic], handler, finish=in_files(tmp_path, **AT_ONCE)) as agent:
        await agent.consumed()
    assert rows_in(tmp_path) == list(range(10))
    assert [WaitingFile.of(name).topic for name in aside_in(tmp_path) if WaitingFile.of(name)] == ["another"]  # type: ignore[union-attr]


async def test_what_a_former_owner_writes_never_becomes_visible(kafka: Cluster, tmp_path: Path) -> None:
    topic, group = await _topic(kafka), unique("group")
    await _send(kafka, topic, range(10))
    held, go_on = asyncio.Event(), asyncio.Event()
    partition, finish = TopicPartition(topic, 0), in_files(tmp_path, **AT_ONCE)

    async def slow(record: Record, out: Outbox) -> None:
        held.set()
        await go_on.wait()
        await handler(record, out) if asyncio.iscoroutinefunction(handler) else handler(record, out)

    async with lane_alone(kafka.bootstrap_servers, partition, slow, group=group, finish=finish) as old:
        await held.wait()
        async with lane_alone(kafka.bootstrap_servers, partition, handler, group=group, finish=finish) as new:
            await eventually(lambda: rows_in(tmp_path) == list(range(10)), "the new owner to have written")
            go_on.set()
            await eventually(lambda: old.failures, "the old owner to find out")
            assert new.failures == []
    assert isinstance(old.failures[0], LaneFenced)
    assert rows_in(tmp_path) == list(range(10))
    assert len(aside_in(tmp_path)) == 1, "what it wrote is aside, and the next commit deletes it"
    await _send(kafka, topic, range(10, 11))
    async with lane_alone(kafka.bootstrap_servers, partition, handler, group=group, finish=finish):
        await eventually(lambda: aside_in(tmp_path) == [], "the next commit to delete it")


async def test_a_folder_that_cannot_be_written_pauses_the_lane_until_it_can(kafka: Cluster, tmp_path: Path) -> None:
    topic = await _topic(kafka)
    await _send(kafka, topic, range(10))
    folder = tmp_path / "platform"
    folder.write_text("a file where the folder should be")
    async with running(kafka.bootstrap_servers, [topic], handler, finish=in_files(folder, **AT_ONCE)) as agent:
        await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.PAUSED, "the lane to pause")
        folder.unlink()
        await agent.consumed()
        assert agent.source.meter.tally.dead_lettered == 0
    assert rows_in(folder) == list(range(10))


# -- other places ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_a_folder_may_be_anywhere_that_fsspec_reaches(scheme: str, tmp_path: Path) -> None:
    folder = Folder(f"{scheme}://{tmp_path}/lake")
    rows = [PlatformRow(ADAPTER.validate_json(order(number)), "orders", 2, number) for number in range(3)]
    ((day, table),) = by_day([as_batch(rows)]).items()
    file, other = (WaitingFile("orders", 2, 0, token * 32, day) for token in "ab")
    folder.write_aside(file, table)
    folder.write_aside(other, table)
    assert sorted(each.token[0] for each in folder.waiting()) == ["a", "b"]
    assert folder.listing().files == []
    folder.publish([file], 3)
    folder.publish([file], 3)  # as after a crash in the middle of it
    folder.discard([other])
    assert folder.waiting() == []
    (shown,) = folder.listing().files
    assert shown.covered == FileRange("orders", 2, 0, 3)
    assert folder.read_back(shown.name) == Contents([0, 1, 2], frozenset({day}), frozenset())


def test_a_place_that_nothing_here_knows_is_refused_with_the_setting() -> None:
    with pytest.raises(SetupError, match="PAYSTREAM_PLATFORM__FOLDER") as raised:
        Folder("nowhere://user:secret@lake/orders")
    assert "secret" not in str(raised.value)
    assert Folder("memory://user:secret@lake/orders").url == "memory://***@lake/orders"


# -- the command -------------------------------------------------------------------------------------


def check(kafka: Cluster, app_id: str, folder: Path) -> Result:
    settings.cache_clear()
    environment = {
        "PAYSTREAM_APP_ID": app_id, "PAYSTREAM_PLATFORM__FOLDER": str(folder), "COLUMNS": "140",
        "PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
    }  # fmt: skip
    return CliRunner().invoke(command, ["check"], env=environment)


async def test_check_finds_nothing_wrong_and_then_what_somebody_has_done_to_the_files(
    kafka: Cluster, tmp_path: Path
) -> None:
    app_id = unique("shop")
    await recreate_declared_topics(kafka.bootstrap_servers, Settings())
    for part in range(3):
        raws = [Raw(0, b"k", order(10 * part + number)) for number in range(10)]
        await produce(kafka.bootstrap_servers, PLATFORM_ORDERS, raws)
        async with running(
            kafka.bootstrap_servers, [PLATFORM_ORDERS], handler, group=f"{app_id}.platform",
            finish=in_files(tmp_path, **AT_ONCE),
        ) as agent:  # fmt: skip
            await agent.consumed()
    good = await asyncio.to_thread(check, kafka, app_id, tmp_path)
    assert good.exit_code == 0, good.output
    assert "complete" in good.output
    middle = sorted(tmp_path.glob(f"dt=*/{PLATFORM_ORDERS}-0-*"))[-2]  # noqa: ASYNC240
    middle.rename(tmp_path / "taken")
    bad = await asyncio.to_thread(check, kafka, app_id, tmp_path)
    assert bad.exit_code == ExitStatus.FAILED
    assert "a gap: nothing covers offsets" in bad.output
    shutil.copy(tmp_path / "taken", middle)
    shutil.copy(tmp_path / "taken", middle.parent / middle.name.replace("-0-0", "-0-1", 1))
    twice = await asyncio.to_thread(check, kafka, app_id, tmp_path)
    assert twice.exit_code == ExitStatus.FAILED
    assert "is of offsets" in twice.output
