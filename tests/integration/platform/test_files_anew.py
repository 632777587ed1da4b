"""A topic that is deleted and made anew under a lane that writes files: the new one's rows are all shown, once."""

from __future__ import annotations

from pathlib import Path

import pyarrow.dataset as ds
import pytest
from aiokafka import TopicPartition
from support.agent import Running, running, unique
from support.kafka import create_topic, produce
from support.orders import order
from support.payments import Raw
from support.swapping import PATIENT, POINTS, Swap, handler, swap_before_the_commit
from support.waiting import eventually

from agents.platform import handler as into_files
from streams.delivery.status import State
from streams.platform.folder import Folder
from streams.platform.in_files import InFiles
from streams.sandbox import Cluster
from streams.settings import PlatformSettings

OLD, NEW = 40, 90  # more than there were: the former offset looks right
AT_ONCE = {"roll_age": 0.001}


def _finish(folder: Path, **limits: float) -> InFiles:
    return InFiles(Folder(str(folder)), PlatformSettings.model_validate({"folder": str(folder), **limits}))


async def _swap(kafka: Cluster) -> Swap:
    """Make the former topic, and say what the swap is to be: its orders have numbers of their own."""
    topic = unique("orders")
    for name in (topic, topic + ".DLT"):
        await create_topic(kafka.bootstrap_servers, name, 1)
    await produce(kafka.bootstrap_servers, topic, _orders(0, OLD))
    last = [each.key or b"" for each in _orders(0, OLD)[-4:]]
    return Swap(kafka.bootstrap_servers, topic, last, _orders(1_000, NEW))


def _orders(first: int, count: int) -> list[Raw]:
    return [Raw(0, b"%d" % number, order(number)) for number in range(first, first + count)]


def _shown(folder: Path) -> list[int]:
    """The numbers of the orders that a reader finds."""
    if not any(folder.glob("dt=*/*")):
        return []
    return sorted(int(each) for each in ds.dataset(str(folder), format="parquet").to_table()["order_id"].to_pylist())


async def _new_is_shown(folder: Path, agent: Running) -> None:
    def shown() -> bool:
        assert not agent.failures, agent.failures
        return [each for each in _shown(folder) if each >= 1_000] == list(range(1_000, 1_000 + NEW))

    await eventually(shown, "all of the new topic to be shown, once", every=0.1)


async def _somebody_is_asked(agent: Running) -> None:
    def asked() -> bool:
        assert not agent.failures, agent.failures
        lane = agent.lane(0) if agent.source.lanes else None
        return lane is not None and lane.state is State.HALTED and "files away" in lane.reason

    await eventually(asked, "the lane to halt and to ask")


def _move_away(folder: Path) -> None:
    for number, file in enumerate(folder.glob("dt=*/*.parquet")):
        file.rename(folder.parent / f"former-{number}.parquet")


@pytest.mark.parametrize("point", list(POINTS))
async def test_the_lane_halts_until_the_former_files_are_moved_away(kafka: Cluster, tmp_path: Path, point: str) -> None:
    folder = tmp_path / "lake"
    swap = await _swap(kafka)
    async with running(
        kafka.bootstrap_servers, [swap.topic], handler(swap, POINTS[point], into_files), failure=PATIENT,
        finish=_finish(folder, **AT_ONCE), max_batch_records=10,
    ) as agent:  # fmt: skip
        await POINTS[point][1](swap, agent)
        await _somebody_is_asked(agent)
        assert max(_shown(folder)) < OLD
        _move_away(folder)
        await _new_is_shown(folder, agent)


async def test_what_is_held_of_the_former_topic_is_given_up_and_the_new_one_is_read_from_its_beginning(
    kafka: Cluster, tmp_path: Path
) -> None:
    swap = await _swap(kafka)
    async with running(
        kafka.bootstrap_servers, [swap.topic], into_files, failure=PATIENT,
        finish=_finish(tmp_path, roll_rows=NEW, roll_age=3600),
    ) as agent:  # fmt: skip

        def held() -> bool:
            lane = agent.source.lanes.get(TopicPartition(swap.topic, 0))
            return lane is not None and lane._finisher.holding

        await eventually(held, "the rows to be held")
        await swap.swap()
        await _new_is_shown(tmp_path, agent)
        assert len(_shown(tmp_path)) == NEW


async def test_files_that_are_committed_too_late_are_shown_and_known_to_be_the_former_ones(
    kafka: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lake"
    swap = await _swap(kafka)
    swap_before_the_commit(monkeypatch, swap, OLD)
    async with running(
        kafka.bootstrap_servers, [swap.topic], into_files, failure=PATIENT, finish=_finish(folder, **AT_ONCE)
    ) as agent:
        await eventually(swap.done.is_set, "the swap")
        await _somebody_is_asked(agent)
        assert _shown(folder) == list(range(OLD))
        _move_away(folder)
        await _new_is_shown(folder, agent)
