"""Files for the data platform when files, offsets or the store behind the folder are not as they should be."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from fsspec.implementations.memory import MemoryFileSystem
from support.agent import kafka_settings, running, unique
from support.kafka import admin, create_topic, produce
from support.orders import order
from support.payments import Raw
from support.waiting import eventually

from agents.platform import handler
from streams.delivery.status import State
from streams.platform.folder import Folder
from streams.platform.in_files import InFiles
from streams.platform.ranges import ASIDE, WaitingFile
from streams.sandbox import Cluster
from streams.settings import PlatformSettings

AT_ONCE = PlatformSettings(roll_age=0.001)


class Unmovable(Folder):
    """A folder in which nothing can be moved: its worker gets no further than the commit."""

    def publish(self, files: Iterable[WaitingFile], next_offset: int) -> None:
        raise PermissionError(13, "Permission denied")


async def _orders(kafka: Cluster, count: int, days: int = 1) -> str:
    topic = unique("orders")
    for name in (topic, topic + ".DLT"):
        await create_topic(kafka.bootstrap_servers, name, 1)
    await _send(kafka, topic, range(count), days)
    return topic


async def _send(kafka: Cluster, topic: str, numbers: range, days: int = 1) -> None:
    raws = [Raw(0, b"k", order(number, 1 + number % days)) for number in numbers]
    await produce(kafka.bootstrap_servers, topic, raws)


async def _committed_and_not_shown(kafka: Cluster, topic: str, group: str, folder: Path) -> None:
    finish = InFiles(Unmovable(str(folder)), AT_ONCE)
    async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=finish) as agent:
        await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.PAUSED, "the lane to pause")


async def _set_offset(kafka: Cluster, group: str, topic: str, offset: int) -> None:
    """As Kafka's own tools do: without our metadata."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers, group_id=group, enable_auto_commit=False
    )  # fmt: skip
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.commit({TopicPartition(topic, 0): offset})
    await consumer.stop()


def _rows(folder: Path) -> list[int]:
    if not any(folder.glob("dt=*/*")):
        return []
    return sorted(
        ds.dataset(str(folder), format="parquet", partitioning="hive").to_table()["source_offset"].to_pylist()
    )


def _aside(folder: Path) -> list[Path]:
    return list((folder / ASIDE).glob("*"))


# -- files and offsets that do not fit ---------------------------------------------------------------


async def test_files_that_are_committed_and_gone_halt_the_lane_until_somebody_decides(
    kafka: Cluster, tmp_path: Path
) -> None:
    topic, group = await _orders(kafka, 10), unique("group")
    await _committed_and_not_shown(kafka, topic, group, tmp_path)
    shutil.rmtree(tmp_path / ASIDE)
    finish = InFiles(Folder(str(tmp_path)), AT_ONCE)
    async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=finish) as agent:
        await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.HALTED, "the lane to halt")
        assert "is committed, and is neither there nor aside" in agent.lane(0).reason
        assert "to 0, and start them" in agent.lane(0).reason
    await _set_offset(kafka, group, topic, 0)
    async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=finish) as agent:
        await agent.consumed()
    assert _rows(tmp_path) == list(range(10))


async def test_files_without_an_offset_halt_the_lane_rather_than_be_written_twice(
    kafka: Cluster, tmp_path: Path
) -> None:
    topic, group = await _orders(kafka, 10), unique("group")
    finish = InFiles(Folder(str(tmp_path)), AT_ONCE)
    async with running(kafka.bootstrap_servers, [topic], handler, finish=finish) as agent:
        await agent.consumed()
    await _send(kafka, topic, range(10, 12))
    async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=finish) as agent:
        await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.HALTED, "the lane to halt")
        assert "up to offset 9, but the group has no offset there" in agent.lane(0).reason
    await _set_offset(kafka, group, topic, 10)
    async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=finish) as agent:
        await agent.consumed()
    assert _rows(tmp_path) == list(range(12))


async def test_files_that_may_be_committed_are_kept_when_somebody_has_set_the_offset(
    kafka: Cluster, tmp_path: Path
) -> None:
    topic, group = await _orders(kafka, 10), unique("group")
    await _committed_and_not_shown(kafka, topic, group, tmp_path)
    await _set_offset(kafka, group, topic, 10)
    await _send(kafka, topic, range(10, 15))
    finish = InFiles(Folder(str(tmp_path)), AT_ONCE)
    async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=finish) as agent:
        await agent.consumed()
        await eventually(lambda: _rows(tmp_path) == list(range(10, 15)), "the rest to land")
    (kept,) = _aside(tmp_path)
    assert pq.read_table(kept)["source_offset"].to_pylist() == list(range(10))


async def test_what_a_former_owner_writes_late_is_deleted_after_the_next_commit(kafka: Cluster, tmp_path: Path) -> None:
    topic = await _orders(kafka, 5)
    async with running(
        kafka.bootstrap_servers, [topic], handler, finish=InFiles(Folder(str(tmp_path)), AT_ONCE)
    ) as agent:
        await eventually(lambda: _rows(tmp_path) == list(range(5)), "the first rows")
        late = tmp_path / WaitingFile(topic, 0, 0, "f" * 32, "2010-12-01").path
        shutil.copy(next(tmp_path.glob("dt=*/*")), late)  # noqa: ASYNC240
        await _send(kafka, topic, range(5, 10))
        await agent.consumed()
        await eventually(lambda: not late.exists(), "it to be deleted")
    assert _rows(tmp_path) == list(range(10))


async def test_a_commit_that_is_refused_leaves_no_files_behind(kafka: Cluster, tmp_path: Path) -> None:
    topic, folder = await _orders(kafka, 5), Folder(str(tmp_path))
    await produce(kafka.bootstrap_servers, topic, [Raw(0, b"k", b"{}")])
    finish = InFiles(folder, PlatformSettings(roll_age=3600, roll_rows=6))
    async with running(kafka.bootstrap_servers, [topic], handler, finish=finish) as agent:
        await eventually(lambda: agent.handed_over() == 6, "all to be held")
        async with admin(kafka.bootstrap_servers) as client:
            await client.delete_topics([topic + ".DLT"])

            async def gone() -> bool:
                return topic + ".DLT" not in await client.list_topics()

            await eventually(gone, "the topic to be gone")
        await _send(kafka, topic, range(5, 6))
        for _ in range(2):
            await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.HALTED, "the lane to halt")
            assert _aside(tmp_path) == []
        await create_topic(kafka.bootstrap_servers, topic + ".DLT", 1)
        await agent.consumed()
    assert _rows(tmp_path) == [0, 1, 2, 3, 4, 6]


# -- the store ---------------------------------------------------------------------------------------


class StoreError(Exception):
    """What a client of an object store raises: no OSError."""


class Store(MemoryFileSystem):
    """An object store that is away."""

    protocol = ("store",)
    away = True

    def _open(self, *arguments: Any, **options: Any) -> Any:
        if self.away:
            raise StoreError("Could not connect to the endpoint URL")
        return super()._open(*arguments, **options)


async def test_a_store_that_is_away_pauses_the_lane_whatever_its_client_raises(kafka: Cluster) -> None:
    fsspec.register_implementation("store", Store, clobber=True)
    topic = await _orders(kafka, 5)
    folder = Folder(f"store://{unique('lake')}")
    async with running(kafka.bootstrap_servers, [topic], handler, finish=InFiles(folder, AT_ONCE)) as agent:
        await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.PAUSED, "the lane to pause")
        assert agent.lane(0).reason.endswith("StoreError")
        Store.away = False
        await agent.consumed()
        await eventually(lambda: folder.listing().files, "the file to be shown")
    (shown,) = folder.listing().files
    assert folder.read_back(shown.name).offsets == list(range(5))


class Slow(Folder):
    """A store that takes its time for each file."""

    def write_aside(self, file: WaitingFile, table: pa.Table) -> None:
        time.sleep(0.3)
        super().write_aside(file, table)


async def test_many_files_in_a_slow_store_may_take_longer_than_the_brokers_are_given(
    kafka: Cluster, tmp_path: Path
) -> None:
    topic = await _orders(kafka, 12, days=12)
    slow, kafka_deadline = Slow(str(tmp_path)), 2.0
    async with running(
        kafka.bootstrap_servers, [topic], handler, finish=InFiles(slow, AT_ONCE),
        kafka=kafka_settings(kafka.bootstrap_servers, deadline=kafka_deadline),
    ) as agent:  # fmt: skip
        quiet = 0.0
        while len(_rows(tmp_path)) < 12 and not agent.failures:
            quiet = max(quiet, agent.lane(0).quiet_seconds if agent.source.lanes else 0.0)
            await asyncio.sleep(0.05)
        assert agent.failures == []
    assert quiet < 3.0, "every file is a step forward: together they take 3.6 s at least"


# -- readers -----------------------------------------------------------------------------------------


def test_readers_that_look_into_every_folder_take_no_file_that_is_aside_for_theirs(tmp_path: Path) -> None:
    aside = tmp_path / WaitingFile("orders", 0, 0, "a" * 32, "2010-12-01").path
    aside.parent.mkdir()
    aside.touch()
    assert list(tmp_path.glob("**/*.parquet")) == []
    assert len(Folder(str(tmp_path)).waiting()) == 1


def test_files_of_others_and_files_in_the_wrong_place_are_found(tmp_path: Path) -> None:
    ours = "orders-0-00000000000000000000-00000000000000000009.parquet"
    for path in ("dt=2010-12-01/copy.parquet", f"other/{ours}", f"dt=2010-12-01/{ours}", "dt=2010-12-01/notes.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    folder = Folder(str(tmp_path))
    listing = folder.listing()
    assert listing.foreign == ["dt=2010-12-01/copy.parquet", f"other/{ours}"]
    assert [each.name for each in listing.files] == [f"dt=2010-12-01/{ours}"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ftp://user:se@cret@host/lake", "ftp://***@host/lake"),
        ("ftp://user:se/cret@host/lake", "ftp://***@host/lake"),
        ("s3://bucket/lake", "s3://bucket/lake"),
        ("/var/lib/lake", "/var/lib/lake"),
    ],
)
def test_no_password_of_a_url_is_shown(url: str, shown: str) -> None:
    from streams.platform.storage import without_password

    assert without_password(url) == shown
