"""Files for the data platform when something goes wrong between owners, on the disk, or with single files."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiokafka import TopicPartition
from click.testing import CliRunner, Result
from support.agent import lane_alone, running, unique
from support.kafka import create_topic, produce, recreate_declared_topics
from support.orders import order
from support.payments import Raw
from support.waiting import PATIENCE, eventually

from agents.platform import handler
from models.platform import ADAPTER
from streams.commands.platform import platform as command
from streams.delivery.status import State
from streams.failure.errors import ExitStatus, LaneFenced
from streams.platform.folder import Folder
from streams.platform.in_files import InFiles
from streams.platform.ranges import ASIDE, FileRange, WaitingFile, note_days, noted_days
from streams.platform.rows import PlatformRow, as_batch, by_day
from streams.sandbox import Cluster
from streams.settings import PlatformSettings, Settings, settings
from streams.topics import PLATFORM_ORDERS


class Frozen(Folder):
    """The folder of an owner that is frozen before it looks what is aside."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.frozen, self.thawed = threading.Event(), threading.Event()

    def waiting(self) -> list[WaitingFile]:
        self.frozen.set()
        assert self.thawed.wait(PATIENCE)
        return super().waiting()


class Interrupted(Folder):
    """The folder of an owner in whose work something happens, once, at a given step."""

    def __init__(self, url: str, step: str, happens: Callable[[], None]) -> None:
        super().__init__(url)
        self._step, self._happens = step, happens

    def write_aside(self, file: WaitingFile, table: pa.Table) -> None:
        super().write_aside(file, table)
        self._reach("commit")

    def publish(self, files: Iterable[WaitingFile], next_offset: int) -> None:
        self._reach("rename")
        super().publish(files, next_offset)

    def _reach(self, step: str) -> None:
        if step == self._step:
            self._step = ""
            self._happens()


@pytest.mark.parametrize("step", ["commit", "rename"])
async def test_a_former_owner_that_wakes_up_deletes_nothing_of_its_successors(
    kafka: Cluster, tmp_path: Path, step: str
) -> None:
    topic, group = unique("orders"), unique("group")
    await create_topic(kafka.bootstrap_servers, topic, 1)
    await produce(kafka.bootstrap_servers, topic, [Raw(0, b"k", order(number)) for number in range(10)])
    partition, at_once = TopicPartition(topic, 0), PlatformSettings(folder=str(tmp_path), roll_age=0.001)
    frozen = Frozen(str(tmp_path))

    async with lane_alone(
        kafka.bootstrap_servers, partition, handler, group=group, finish=InFiles(frozen, at_once)
    ) as old:

        def let_the_former_owner_run_into_its_fence() -> None:
            frozen.thawed.set()
            until = time.monotonic() + PATIENCE
            while not old.failures and time.monotonic() < until:
                time.sleep(0.01)

        await eventually(frozen.frozen.is_set, "the former owner to be frozen")
        interrupted = Interrupted(str(tmp_path), step, let_the_former_owner_run_into_its_fence)
        async with lane_alone(
            kafka.bootstrap_servers, partition, handler, group=group, finish=InFiles(interrupted, at_once)
        ) as new:
            await eventually(lambda: any(tmp_path.glob("dt=*/*")) or new.lane.reason, "the successor's file")
            assert not new.lane.reason
            assert new.failures == []
    assert [type(each) for each in old.failures] == [LaneFenced]
    (shown,) = tmp_path.glob("dt=*/*")  # noqa: ASYNC240
    assert pq.read_table(shown)["source_offset"].to_pylist() == list(range(10))
    assert len(list((tmp_path / ASIDE).iterdir())) == 1, "what the former owner wrote; the next commit deletes it"


class Stuck(Folder):
    """A folder in which nothing can be moved."""

    def publish(self, files: Iterable[WaitingFile], next_offset: int) -> None:
        raise OSError(errno.EIO, "Input/output error")


class Forgetful(Folder):
    """A folder whose first listing is of a moment ago, as NFS and some stores have it: a file is not in it yet."""

    lists = 0

    def waiting(self) -> list[WaitingFile]:
        self.lists += 1
        return super().waiting()[1:] if self.lists == 1 else super().waiting()


async def test_what_a_listing_does_not_show_yet_is_missed_and_never_deleted(kafka: Cluster, tmp_path: Path) -> None:
    topic, group = unique("orders"), unique("group")
    for name in (topic, topic + ".DLT"):
        await create_topic(kafka.bootstrap_servers, name, 1)
    raws = [Raw(0, b"k", order(number, 1 + number % 3)) for number in range(9)]
    await produce(kafka.bootstrap_servers, topic, raws)
    settings = PlatformSettings(folder=str(tmp_path), roll_age=0.001)
    async with running(
        kafka.bootstrap_servers, [topic], handler, group=group, finish=InFiles(Stuck(str(tmp_path)), settings)
    ) as agent:
        await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.PAUSED, "the files to be aside")
    assert len(Folder(str(tmp_path)).waiting()) == 3
    await produce(kafka.bootstrap_servers, topic, raws[:1])
    async with running(
        kafka.bootstrap_servers, [topic], handler, group=group, finish=InFiles(Forgetful(str(tmp_path)), settings)
    ) as agent:
        await agent.consumed()
    shown = [pq.read_table(each)["source_offset"].to_pylist() for each in tmp_path.glob("dt=*/*")]  # noqa: ASYNC240
    assert sorted(offset for offsets in shown for offset in offsets) == list(range(10))


async def test_a_committed_file_that_is_damaged_halts_its_lane_with_a_way_out(kafka: Cluster, tmp_path: Path) -> None:
    topic, group = unique("orders"), unique("group")
    for name in (topic, topic + ".DLT"):
        await create_topic(kafka.bootstrap_servers, name, 1)
    await produce(kafka.bootstrap_servers, topic, [Raw(0, b"k", order(number)) for number in range(3)])
    finish = InFiles(Folder(str(tmp_path)), PlatformSettings(folder=str(tmp_path), roll_age=0.001))
    async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=finish) as agent:
        await agent.consumed()
        await eventually(lambda: list(tmp_path.glob("dt=*/*")), "the file to be shown")
    (file,) = tmp_path.glob("dt=*/*")  # noqa: ASYNC240
    content = file.read_bytes()
    for damaged in (content[:-100], b"PAR1" + bytes(40), b""):
        file.write_bytes(damaged)
        async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=finish) as agent:
            await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.HALTED, "the lane to halt")
            assert "is committed, and damaged. Put it back" in agent.lane(0).reason
    file.write_bytes(content)
    await produce(kafka.bootstrap_servers, topic, [Raw(0, b"k", order(3))])
    async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=finish) as agent:
        await agent.consumed()


# -- the disk ----------------------------------------------------------------------------------------


class Filling(Folder):
    """A folder whose disk has room for one file a time, until somebody makes more."""

    room = False

    def write_aside(self, file: WaitingFile, table: pa.Table) -> None:
        if not self.room and self.waiting():
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write_aside(file, table)


async def test_attempts_that_fail_on_a_full_disk_do_not_fill_it_further(kafka: Cluster, tmp_path: Path) -> None:
    topic = unique("orders")
    for name in (topic, topic + ".DLT"):
        await create_topic(kafka.bootstrap_servers, name, 1)
    await produce(kafka.bootstrap_servers, topic, [Raw(0, b"k", order(number, 1 + number)) for number in range(3)])
    folder = Filling(str(tmp_path))
    finish = InFiles(folder, PlatformSettings(folder=str(tmp_path), roll_age=0.001))
    async with running(kafka.bootstrap_servers, [topic], handler, finish=finish) as agent:
        await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.PAUSED, "the lane to pause")
        assert "No space left" in agent.lane(0).reason
        await eventually(lambda: not folder.waiting(), "the failed attempt to be cleared away")
        folder.room = True
        await agent.consumed()
    assert len(list(tmp_path.glob("dt=*/*"))) == 3  # noqa: ASYNC240
    assert folder.waiting() == []


def test_names_have_reached_the_disk_and_not_only_what_is_in_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = set(), os.fsync

    def watched(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    root = tmp_path / "lake" / "orders"
    folder = Folder(str(root))
    file, table = _file(0, "a" * 32, 1)
    folder.write_aside(file, table)
    assert {each.stat().st_ino for each in (root / file.path, root / ASIDE, root, root.parent, tmp_path)} <= synced
    synced.clear()
    folder.publish([file], 1)
    assert {each.stat().st_ino for each in (root / f"dt={file.day}", root)} <= synced


def _file(first: int, token: str, rows: int, day: int = 1) -> tuple[WaitingFile, pa.Table]:
    orders = [ADAPTER.validate_json(order(first + number, day)) for number in range(rows)]
    made = [PlatformRow(each, PLATFORM_ORDERS, 0, first + number) for number, each in enumerate(orders)]
    ((name, table),) = by_day([as_batch(made)]).items()
    return WaitingFile(PLATFORM_ORDERS, 0, first, token, name), table


# -- single files ------------------------------------------------------------------------------------


def test_each_file_of_a_range_names_the_days_of_all_of_them(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    file, table = _file(5, "a" * 32, 2)
    folder.write_aside(file, table.replace_schema_metadata(note_days(["2010-12-02", "2010-12-01"])))
    folder.publish([file], 7)
    (shown,) = folder.listing().files
    assert shown.covered == FileRange(PLATFORM_ORDERS, 0, 5, 7)
    contents = folder.read_back(shown.name)
    assert (contents.offsets, contents.days) == ([5, 6], frozenset({shown.day}))
    assert contents.range_days == frozenset({"2010-12-01", "2010-12-02"})
    assert noted_days(None) == frozenset(), "files of others have no such note"


async def test_check_misses_the_file_of_one_day_and_names_a_damaged_one(kafka: Cluster, tmp_path: Path) -> None:
    app_id = unique("shop")
    await recreate_declared_topics(kafka.bootstrap_servers, Settings())
    finish = InFiles(Folder(str(tmp_path)), PlatformSettings(folder=str(tmp_path), roll_age=0.001))
    # Its neighbour has partition 0 of the one topic that the command looks at.
    raws = [Raw(1, b"k", order(number, 1 + number % 3)) for number in range(9)]
    await produce(kafka.bootstrap_servers, PLATFORM_ORDERS, raws)
    group = f"{app_id}.platform"
    async with running(kafka.bootstrap_servers, [PLATFORM_ORDERS], handler, group=group, finish=finish) as agent:
        await agent.consumed()
    assert (await asyncio.to_thread(_check, kafka, app_id, tmp_path)).exit_code == 0
    first, second, third = sorted(tmp_path.glob(f"dt=*/{PLATFORM_ORDERS}-1-*"))[-3:]  # noqa: ASYNC240
    second.rename(tmp_path / "taken")
    lost = await asyncio.to_thread(_check, kafka, app_id, tmp_path)
    assert lost.exit_code == ExitStatus.FAILED
    assert "for 2010-12-02 is missing" in lost.output
    (tmp_path / "taken").rename(second)
    third.write_bytes(first.read_bytes()[:100])
    damaged = await asyncio.to_thread(_check, kafka, app_id, tmp_path)
    assert damaged.exit_code == ExitStatus.FAILED
    assert f"{third.relative_to(tmp_path)} cannot be read" in damaged.output.replace("\n", "")


def _check(kafka: Cluster, app_id: str, folder: Path) -> Result:
    settings.cache_clear()
    environment = {
        "PAYSTREAM_APP_ID": app_id, "PAYSTREAM_PLATFORM__FOLDER": str(folder), "COLUMNS": "140",
        "PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
    }  # fmt: skip
    return CliRunner().invoke(command, ["check"], env=environment)
