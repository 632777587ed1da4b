"""Whether what is wrong with the platform's files is found, and nothing that is right is called wrong."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from click.testing import CliRunner, Result
from support.agent import running, unique
from support.kafka import create_topic, produce, recreate_declared_topics
from support.orders import ORDER, order
from support.payments import Raw

from agents.platform import handler
from models.platform import ADAPTER
from streams.commands.platform import platform as command
from streams.failure.errors import ExitStatus
from streams.kafka.offset_note import OffsetNote
from streams.kafka.topic_admin import apply_topics
from streams.platform.folder import Folder
from streams.platform.in_files import InFiles
from streams.platform.ranges import FileRange, Mark, WaitingFile
from streams.platform.rows import PlatformRow, as_batch, by_day
from streams.sandbox import Cluster
from streams.settings import KafkaSettings, PlatformSettings, Settings, settings
from streams.topics import PLATFORM_ORDERS, declared_topics

TOKEN = "0123456789abcdef0123456789abcdef"
DAYS = ("2010-12-01", "2010-12-02")


@pytest.fixture
def topics(kafka: Cluster) -> Cluster:
    """The broker, with the declared topics; each test has a group of its own."""
    asyncio.run(apply_topics(KafkaSettings(bootstrap_servers=kafka.bootstrap_servers), declared_topics(Settings())))
    return kafka


def check(servers: str, app_id: str, folder: Path, *, arguments: Sequence[str] = (), **more: str) -> Result:
    settings.cache_clear()
    environment = {
        "PAYSTREAM_APP_ID": app_id, "PAYSTREAM_PLATFORM__FOLDER": str(folder),
        "PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": servers, **more,
    }  # fmt: skip
    return CliRunner().invoke(command, ["check", *arguments], env=environment)


def write(folder: Path, first: int, end: int, partition: int = 0) -> list[Path]:
    """Write the files of a range, with a row of each day in turn, to where readers look."""
    rows = [
        PlatformRow(ADAPTER.validate_json(order(number, 1 + number % 2)), PLATFORM_ORDERS, partition, number)
        for number in range(first, end)
    ]
    into, covered = Folder(str(folder)), FileRange(PLATFORM_ORDERS, partition, first, end)
    tables = by_day([as_batch(rows)])
    for day, table in tables.items():
        file = WaitingFile(PLATFORM_ORDERS, partition, first, TOKEN, day)
        into.write_aside(file, table.replace_schema_metadata({"paystream.days": ",".join(tables)}))
        into.publish([file], end)
    return [folder / covered.path(day) for day in sorted(tables)]


def commit(servers: str, app_id: str, offset: int, mark: Mark | None, partition: int = 0) -> None:
    async def run() -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=servers, group_id=f"{app_id}.platform", enable_auto_commit=False)
        await consumer.start()
        try:
            place = TopicPartition(PLATFORM_ORDERS, partition)
            consumer.assign([place])
            note = OffsetNote(more=mark.fields()) if mark is not None else OffsetNote()
            await consumer.commit({place: note.beside(offset)})
        finally:
            await consumer.stop()

    asyncio.run(run())


def three_ranges(servers: str, app_id: str, folder: Path) -> list[Path]:
    """Write and commit three ranges of two days each; return their files, by offset."""
    files = [file for first in (0, 10, 20) for file in write(folder, first, first + 10)]
    commit(servers, app_id, 30, Mark(20, TOKEN, 0, DAYS[0]))
    return files


# -- ids -----------------------------------------------------------------------------------------


def write_records(folder: Path, *records: bytes, partition: int = 0) -> None:
    """Write records as they are on the wire to where readers look, from the first offset on."""
    rows = [
        PlatformRow(ADAPTER.validate_json(each), PLATFORM_ORDERS, partition, offset)
        for offset, each in enumerate(records)
    ]
    into = Folder(str(folder))
    for day, table in by_day([as_batch(rows)]).items():
        file = WaitingFile(PLATFORM_ORDERS, partition, 0, TOKEN, day)
        into.write_aside(file, table)
        into.publish([file], len(records))


def made(payment_id: str = "555", **changes: Any) -> bytes:
    """Write the record of a payment."""
    return json.dumps({**ORDER, "recordId": f"{payment_id}:order-platform", **changes}).encode()


def test_records_of_one_id_that_say_different_things_are_named_with_their_places(
    topics: Cluster, tmp_path: Path
) -> None:
    app_id = unique("shop")
    other = [{**ORDER["lines"][0], "sku": "SHEET"}]
    write_records(tmp_path, made(), made("7"), made(orderId="2"), made())
    write_records(tmp_path, made("7", lines=other), made("8"), partition=3)
    commit(topics.bootstrap_servers, app_id, 4, Mark(0, TOKEN, 0, DAYS[0]))
    commit(topics.bootstrap_servers, app_id, 2, Mark(0, TOKEN, 0, DAYS[0]), partition=3)
    found = check(topics.bootstrap_servers, app_id, tmp_path)
    assert found.exit_code == ExitStatus.FAILED
    assert "555:order-platform is the id of 2 different records: 0@0, 0@2\n" in found.output
    assert "7:order-platform is the id of 2 different records: 0@1, 3@0\n" in found.output
    assert "8:order" not in found.output
    names = ("--reviewed", "7:order-platform", "--reviewed", "555:order-platform")
    known = check(topics.bootstrap_servers, app_id, tmp_path, arguments=names)
    assert known.exit_code == 0, known.output
    assert known.output.count("which was reviewed") == 2


def test_repeats_and_events_of_two_kinds_with_one_id_are_right_whatever_form_their_ids_have(
    topics: Cluster, tmp_path: Path
) -> None:
    app_id = unique("shop")
    back = {"kind": "cancellation", "orderId": "k-1", "method": None}
    write_records(
        tmp_path,
        made(), made(), made(recordId="555:platform"), made(recordId="555:platform", **back),
        made(recordId="555:cancellation-platform", **back), made(amount="5.0"),
    )  # fmt: skip
    commit(topics.bootstrap_servers, app_id, 6, Mark(0, TOKEN, 0, DAYS[0]))
    found = check(topics.bootstrap_servers, app_id, tmp_path)
    assert found.exit_code == 0, found.output


# -- brokers and settings ----------------------------------------------------------------------------


@pytest.mark.deadline(120)
async def test_as_the_first_command_on_a_fresh_broker_it_waits_for_the_groups_coordinator(tmp_path: Path) -> None:
    async with Cluster() as fresh:
        servers = fresh.bootstrap_servers
        missing = await asyncio.to_thread(check, servers, unique("shop"), tmp_path)
        await create_topic(servers, PLATFORM_ORDERS, 2)
        done = await asyncio.to_thread(check, servers, unique("shop"), tmp_path)
    assert missing.exit_code == ExitStatus.CONFIGURATION
    assert f"there is no topic {PLATFORM_ORDERS}" in missing.output
    assert done.exit_code == 0, done.output
    assert done.output.count("nothing yet") == 2
    assert "complete" not in done.output


def test_without_a_broker_it_says_so_with_the_status_of_that(tmp_path: Path) -> None:
    done = check("127.0.0.1:1", unique("shop"), tmp_path)
    assert done.exit_code == ExitStatus.UNREACHABLE
    assert "no Kafka broker answers" in done.output


def test_brokers_that_do_not_answer_in_time_are_unreachable(topics: Cluster, tmp_path: Path) -> None:
    done = check(topics.bootstrap_servers, unique("shop"), tmp_path, PAYSTREAM_KAFKA__DEADLINE="0.0001")
    assert done.exit_code == ExitStatus.UNREACHABLE
    assert "did not say" in done.output


def test_with_an_api_as_the_sink_there_is_nothing_to_check(tmp_path: Path) -> None:
    api = {"PAYSTREAM_PLATFORM__SINK": "http", "PAYSTREAM_PLATFORM__API_URL": "https://platform.example/orders"}
    done = check("127.0.0.1:1", unique("shop"), tmp_path, **api)
    assert done.exit_code == ExitStatus.CONFIGURATION
    assert "PAYSTREAM_PLATFORM__SINK=http" in done.output


def test_a_folder_that_is_not_there_is_named_instead_of_gaps_everywhere(
    topics: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app_id = unique("shop")
    monkeypatch.chdir(tmp_path)
    untouched = check(topics.bootstrap_servers, app_id, Path("platform"))
    commit(topics.bootstrap_servers, app_id, 30, Mark(20, TOKEN, 0, DAYS[0]))
    elsewhere = check(topics.bootstrap_servers, app_id, Path("platform"))
    (tmp_path / "platform").mkdir()
    emptied = check(topics.bootstrap_servers, app_id, Path("platform"))
    assert untouched.exit_code == 0, untouched.output
    assert untouched.output.startswith(f"{tmp_path}/platform\n")
    assert elsewhere.exit_code == ExitStatus.CONFIGURATION
    assert elsewhere.output == (
        f"paystream: there is no folder {tmp_path}/platform: PAYSTREAM_PLATFORM__FOLDER says where it is\n"
    )
    assert emptied.exit_code == ExitStatus.FAILED
    assert "a gap: nothing covers offsets 0 to 29" in emptied.output


def test_a_folder_may_have_any_name(topics: Cluster, tmp_path: Path) -> None:
    app_id, folder = unique("shop"), tmp_path / "lake [eu] 100%s #1?*"
    servers = topics.bootstrap_servers
    files = three_ranges(servers, app_id, folder)
    done = check(servers, app_id, folder)
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"{folder}\n")
    files[0].rename(folder / "stray.parquet")
    bad = check(servers, app_id, folder)
    assert bad.exit_code == ExitStatus.FAILED
    assert "stray.parquet is none of the agent's files" in bad.output


# -- what is right -----------------------------------------------------------------------------------


async def test_what_agents_have_written_is_complete(kafka: Cluster, tmp_path: Path) -> None:
    app_id = unique("shop")
    await recreate_declared_topics(kafka.bootstrap_servers, Settings())
    finish = InFiles(Folder(str(tmp_path)), PlatformSettings(folder=str(tmp_path), roll_age=0.001))
    for part in range(3):
        raws = [Raw(0, b"k", order(10 * part + number, 1 + number % 2)) for number in range(10)]
        await produce(kafka.bootstrap_servers, PLATFORM_ORDERS, raws)
        async with running(
            kafka.bootstrap_servers, [PLATFORM_ORDERS], handler, group=f"{app_id}.platform", finish=finish
        ) as agent:
            await agent.consumed()
    done = await asyncio.to_thread(check, kafka.bootstrap_servers, app_id, tmp_path)
    assert done.exit_code == 0, done.output
    assert "complete" in done.output


def test_what_is_committed_and_not_shown_yet_is_complete_with_a_note(topics: Cluster, tmp_path: Path) -> None:
    app_id = unique("shop")
    three_ranges(topics.bootstrap_servers, app_id, tmp_path)
    for day in DAYS:
        shown = tmp_path / FileRange(PLATFORM_ORDERS, 0, 20, 30).path(day)
        shown.rename(tmp_path / WaitingFile(PLATFORM_ORDERS, 0, 20, TOKEN, day).path)
    done = check(topics.bootstrap_servers, app_id, tmp_path)
    assert done.exit_code == 0, done.output
    assert "2 files are committed and not shown yet" in done.output


def test_what_a_worker_commits_while_the_files_are_listed_is_not_judged(
    topics: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app_id, waiting = unique("shop"), Folder.waiting
    three_ranges(topics.bootstrap_servers, app_id, tmp_path)

    def goes_on(folder: Folder) -> list[WaitingFile]:
        listed = waiting(folder)
        # The next range is shown too late to be listed, and so is a day of the one after it.
        write(tmp_path, 40, 50)[0].unlink()
        with ThreadPoolExecutor() as another:  # loop than the command's
            another.submit(commit, topics.bootstrap_servers, app_id, 50, Mark(40, TOKEN, 0, DAYS[0])).result()
        return listed

    monkeypatch.setattr(Folder, "waiting", goes_on)
    during = check(topics.bootstrap_servers, app_id, tmp_path)
    monkeypatch.undo()
    later = check(topics.bootstrap_servers, app_id, tmp_path)
    assert during.exit_code == 0, during.output
    assert later.exit_code == ExitStatus.FAILED
    assert "a gap: nothing covers offsets 30 to 39" in later.output
    assert f"the file of offsets 40 to 49 for {DAYS[0]} is missing" in later.output


def test_a_group_that_is_deleted_while_the_files_are_listed_is_no_failure_of_the_command(
    topics: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app_id, waiting = unique("shop"), Folder.waiting
    three_ranges(topics.bootstrap_servers, app_id, tmp_path)

    def other_group(folder: Folder) -> list[WaitingFile]:
        object.__setattr__(settings(), "app_id", unique("shop"))
        return waiting(folder)

    monkeypatch.setattr(Folder, "waiting", other_group)
    done = check(topics.bootstrap_servers, app_id, tmp_path)
    assert done.exit_code == 0, done.output


# -- what is wrong -----------------------------------------------------------------------------------


def delete_first(files: list[Path]) -> None:
    for file in files[:2]:
        file.unlink()


def delete_all(files: list[Path]) -> None:
    for file in files:
        file.unlink()


def delete_a_day(files: list[Path]) -> None:
    files[2].unlink()


def copy_with_another_name(files: list[Path]) -> None:
    shutil.copy(files[2], files[2].with_name("copy of " + files[2].name.replace("-0-0", "-0-x")))


def copy_to_another_day(files: list[Path]) -> None:
    other = files[0].parents[1] / "dt=2010-12-24"
    other.mkdir()
    shutil.copy(files[0], other / files[0].name)


def swap_two_days(files: list[Path]) -> None:
    first, second = files[:2]
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def copy_to_another_folder(files: list[Path]) -> None:
    shutil.copy(files[0], files[0].parents[1] / files[0].name)


def put_a_file_of_another_topic_there(files: list[Path]) -> None:
    shutil.copy(files[0], files[0].with_name(files[0].name.replace(PLATFORM_ORDERS, "another.topic")))


def copy_to_another_partition(files: list[Path]) -> None:
    shutil.copy(files[0], files[0].with_name(files[0].name.replace(f"{PLATFORM_ORDERS}-0", f"{PLATFORM_ORDERS}-99")))


def damage(files: list[Path]) -> None:
    content = bytearray(files[0].read_bytes())
    # In the middle of the data of the first column, "kind", or right behind it.
    content[60] ^= 0xFF
    files[0].write_bytes(content)


def truncate(files: list[Path]) -> None:
    files[0].write_bytes(files[0].read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (delete_first, "a gap: nothing covers offsets 0 to 9"),
        (delete_all, "a gap: nothing covers offsets 0 to 29"),
        (delete_a_day, f"the file of offsets 10 to 19 for {DAYS[0]} is missing"),
        (copy_with_another_name, "readers would see it"),
        (copy_to_another_day, f"has rows of {DAYS[0]}: it belongs into another folder"),
        (swap_two_days, f"has rows of {DAYS[1]}: it belongs into another folder"),
        (copy_to_another_folder, "readers would see it"),
        (put_a_file_of_another_topic_there, "readers would see it"),
        (copy_to_another_partition, f"{PLATFORM_ORDERS} has no such partition"),
        (damage, "cannot be read"),
        (truncate, "cannot be read"),
    ],
)
def test_what_somebody_has_done_to_the_files_is_found(
    topics: Cluster, tmp_path: Path, spoil: Callable[[list[Path]], Any], words: str
) -> None:
    app_id = unique("shop")
    files = three_ranges(topics.bootstrap_servers, app_id, tmp_path)
    good = check(topics.bootstrap_servers, app_id, tmp_path)
    assert good.exit_code == 0, good.output
    spoil(files)
    bad = check(topics.bootstrap_servers, app_id, tmp_path)
    assert bad.exit_code == ExitStatus.FAILED, bad.output
    assert words in bad.output


def test_an_offset_that_somebody_set_before_there_was_any_file_is_said_to_be(topics: Cluster, tmp_path: Path) -> None:
    app_id = unique("shop")
    commit(topics.bootstrap_servers, app_id, 10, None)
    done = check(topics.bootstrap_servers, app_id, tmp_path)
    assert done.exit_code == ExitStatus.FAILED
    assert "was set by something else" in done.output
