"""A backlog over many days in the platform's files: what it costs grows with its rows, and none is lost or doubled."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow.parquet as pq
from support.agent import running, unique
from support.kafka import create_topic, produce
from support.orders import ORDER
from support.payments import Raw
from support.waiting import eventually

from agents.platform import handler
from streams.delivery.status import State
from streams.platform.check import Committed, by_partition, look_into
from streams.platform.folder import Folder
from streams.platform.in_files import InFiles
from streams.platform.ranges import WaitingFile
from streams.sandbox import Cluster
from streams.settings import PlatformSettings

_START = datetime(2010, 12, 1, 8, 26, tzinfo=timezone.utc)


def _of_day(number: int, day: int) -> bytes:
    moment = (_START + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps({**ORDER, "recordId": f"pay-{number}:platform", "occurredAt": moment}).encode()


async def _backlog(kafka: Cluster, rows: int, days: int) -> str:
    """Write orders to a topic whose days come in turns, which is the worst that they can do."""
    topic = unique("orders")
    for name in (topic, topic + ".DLT"):
        await create_topic(kafka.bootstrap_servers, name, 1)
    raws = [Raw(0, b"k", _of_day(number, number % days)) for number in range(rows)]
    await produce(kafka.bootstrap_servers, topic, raws)
    return topic


def _problems(folder: Path, topic: str, end: int) -> list[str]:
    """What 'paystream platform check' would say of the files."""
    files, found = Folder(str(folder)), []
    for each in files.listing().files:
        contents = files.read_back(each.name)
        found.append(look_into(each.name, each.covered, each.day, contents.offsets, contents.days, contents.range_days))
    (report,) = by_partition(topic, found, files.waiting(), {0: Committed(end, None, end)}, [0])
    return report.problems


async def test_a_backlog_costs_a_small_file_for_each_day_and_nothing_that_grows_with_the_days_of_others(
    kafka: Cluster, tmp_path: Path
) -> None:
    topic = await _backlog(kafka, 1_000, days=250)
    finish = InFiles(Folder(str(tmp_path)), PlatformSettings(folder=str(tmp_path), roll_rows=1_000, roll_age=3600))
    async with running(kafka.bootstrap_servers, [topic], handler, finish=finish) as agent:
        await agent.consumed()
    files = list(tmp_path.glob("dt=*/*"))  # noqa: ASYNC240
    assert len(files) == 250
    # With all of the range's days noted in each file, and statistics of four rows, they were 14 KB each.
    assert sum(each.stat().st_size for each in files) < 250 * 4_096
    assert _problems(tmp_path, topic, 1_000) == []
    files[40].unlink()
    (missed,) = _problems(tmp_path, topic, 1_000)
    assert missed.endswith(f"for {files[40].parent.name.removeprefix('dt=')} is missing")


class _OnlySome(Folder):
    """The folder of an owner that ends when it has moved the first of its files."""

    def publish(self, files: Iterable[WaitingFile], next_offset: int) -> None:
        super().publish([*files][:3], next_offset)
        raise OSError(errno.EIO, "Input/output error")


async def test_many_files_that_were_committed_and_not_all_moved_are_shown_by_the_next_owner_to_the_last(
    kafka: Cluster, tmp_path: Path
) -> None:
    topic, group = await _backlog(kafka, 120, days=40), unique("group")
    limits = PlatformSettings(folder=str(tmp_path), roll_rows=120, roll_age=3600)
    finish = InFiles(_OnlySome(str(tmp_path)), limits)
    async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=finish) as agent:
        await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.PAUSED, "some to be moved")
    assert len(Folder(str(tmp_path)).waiting()) == 37
    finish = InFiles(Folder(str(tmp_path)), limits)
    async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=finish):
        await eventually(lambda: not Folder(str(tmp_path)).waiting(), "the rest to be moved")
    rows = [offset for each in tmp_path.glob("dt=*/*") for offset in pq.read_table(each)["source_offset"].to_pylist()]  # noqa: ASYNC240
    assert sorted(rows) == list(range(120))
    assert _problems(tmp_path, topic, 120) == []


async def test_a_file_of_the_last_range_that_is_gone_is_missed_at_the_start_whichever_day_it_is_of(
    kafka: Cluster, tmp_path: Path
) -> None:
    topic, group = await _backlog(kafka, 40, days=40), unique("group")
    finish = InFiles(Folder(str(tmp_path)), PlatformSettings(folder=str(tmp_path), roll_rows=40, roll_age=3600))
    async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=finish) as agent:
        await agent.consumed()
    for gone in sorted(tmp_path.glob("dt=*/*"))[::13]:  # noqa: ASYNC240
        kept = gone.rename(tmp_path / "kept")
        async with running(kafka.bootstrap_servers, [topic], handler, group=group, finish=finish) as agent:
            await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.HALTED, "the lane to halt")
            assert f"{gone.relative_to(tmp_path)} is committed, and is neither there nor aside" in agent.lane(0).reason
        kept.rename(gone)
