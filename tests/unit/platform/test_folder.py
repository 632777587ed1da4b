from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.orders import order

from models.platform import ADAPTER
from streams.platform.folder import Folder
from streams.platform.ranges import FileRange, WaitingFile, note_days
from streams.platform.rows import SCHEMA, PlatformRow, as_batch, by_day


def _file(rows: int) -> tuple[WaitingFile, pa.Table]:
    made = [PlatformRow(ADAPTER.validate_json(order(number)), "orders", 0, number) for number in range(rows)]
    ((day, table),) = by_day([as_batch(made)]).items()
    return WaitingFile("orders", 0, 0, "a" * 32, day), table.replace_schema_metadata(
        note_days(["2010-12-01", "2010-12-02"])
    )


@pytest.mark.parametrize("rows", [1, 64, 65, 1_000])
def test_a_file_has_its_rows_its_columns_and_its_days_however_few_rows_it_has(tmp_path: Path, rows: int) -> None:
    folder, (file, table) = Folder(str(tmp_path)), _file(rows)
    folder.write_aside(file, table)
    folder.publish([file], rows)
    (shown,) = folder.listing().files
    contents = folder.read_back(shown.name)
    assert contents.offsets == list(range(rows))
    assert contents.range_days == {"2010-12-01", "2010-12-02"}
    read = pq.read_table(tmp_path / shown.name, partitioning=None)
    assert read.schema.remove_metadata().equals(SCHEMA)
    assert read.equals(table)


def test_a_file_of_one_row_is_a_small_one(tmp_path: Path) -> None:
    folder, (file, table) = Folder(str(tmp_path)), _file(1)
    folder.write_aside(file, table)
    assert (tmp_path / file.path).stat().st_size < 3_500


def test_files_as_they_were_written_before_are_read_like_those_of_today(tmp_path: Path) -> None:
    _, table = _file(3)
    covered = FileRange("orders", 0, 0, 3)
    former = tmp_path / covered.path("2010-12-01")
    former.parent.mkdir()
    pq.write_table(table, former, compression="zstd", write_page_checksum=True)
    folder = Folder(str(tmp_path))
    contents = folder.read_back(covered.path("2010-12-01"))
    assert contents.offsets == [0, 1, 2]
    assert contents.days == {"2010-12-01"}
    assert contents.range_days == {"2010-12-01", "2010-12-02"} == folder.days_of_range(covered, "2010-12-01")


def test_the_names_of_many_files_aside_reach_the_disk_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, (file, table) = Folder(str(tmp_path)), _file(1)
    folder.write_aside(file, table)
    synced, fsync = [], os.fsync

    def watched(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    aside = (tmp_path / file.path).parent.stat().st_ino
    for token in "bcd":
        folder.write_aside(WaitingFile("orders", 0, 0, token * 32, file.day), table)
    assert len(synced) == 3, "what is in each"
    assert aside not in synced
    folder.sync_aside()
    assert aside in synced
