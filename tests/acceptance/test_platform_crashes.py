"""A worker that dies before the platform files' commit: each record is in one file in the end."""

from __future__ import annotations

from pathlib import Path

import pyarrow.dataset as ds
from support.kafka import produce
from support.orders import order
from support.payments import Raw
from support.waiting import eventually
from support.worker import CRASHED, Crew

from streams.platform.folder import Folder
from streams.topics import PLATFORM_ORDERS

_ORDERS = 200


def offsets_in(folder: Path) -> list[int]:
    """The source offsets that any reader of Parquet finds."""
    if not any(folder.glob("dt=*/*")):
        return []
    table = ds.dataset(str(folder), format="parquet", partitioning="hive").to_table(columns=["source_offset"])
    return sorted(table["source_offset"].to_pylist())


async def test_files_whose_writer_dies_before_its_commit_are_written_anew_and_those_aside_deleted(
    crew: Crew, tmp_path: Path
) -> None:
    folder = tmp_path / "lake [eu] 100%s #1?*"  # a name like any other, from the environment to the log
    raws = [Raw(0, b"k", order(number, 1 + number % 2)) for number in range(_ORDERS)]
    await produce(crew.servers, PLATFORM_ORDERS, raws)
    worker = crew.hire(
        "worker", agents=["agents.platform"], PLATFORM__FOLDER=str(folder), PLATFORM__ROLL_ROWS="20",
        DELIVERY__MAX_BATCH_RECORDS="10", KAFKA__INSTANCE_ID="worker",
    )  # fmt: skip

    worker.start(CRASH_AT="after_offsets:3")  # the third roll, so that there is a committed past
    assert await worker.ended() == CRASHED
    assert offsets_in(folder) == list(range(40)), "the third roll is not shown"
    assert len(Folder(str(folder)).waiting()) == 2, "one file for each day, aside"

    worker.start()
    await eventually(lambda: offsets_in(folder) == list(range(_ORDERS)), "every record to be in one file")
    await eventually(lambda: not Folder(str(folder)).waiting(), "nothing to be left aside")
    assert await worker.terminate() == 0
