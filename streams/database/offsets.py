"""How far the lanes of the database's agents have come, and setting them back or forward."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update

from streams.database.engine import Database
from streams.database.tables import consumer_offsets


@dataclass(frozen=True, slots=True)
class LaneOffset:
    """How far one lane has come.

    Attributes:
        group: the consumer group of the agent.
        topic: what it reads.
        partition: likewise.
        next_offset: where it goes on; None for the beginning of the log.
        owners: how many owners the lane has had.
    """

    group: str
    topic: str
    partition: int
    next_offset: int | None
    owners: int


async def lane_offsets(database: Database) -> list[LaneOffset]:
    """List all lanes that the database has heard of, in order.

    Raises:
        DependencyUnavailable: the database is down.
    """
    async with database.reading() as connection:
        columns = consumer_offsets.c
        rows = await connection.execute(
            select(columns.consumer_group, columns.topic, columns.partition, columns.next_offset, columns.epoch)
            .order_by(columns.consumer_group, columns.topic, columns.partition)
        )  # fmt: skip
        return [LaneOffset(*row) for row in rows]


async def seek(
    database: Database, group: str, topic: str, partition: int | None, next_offset: int | None
) -> list[LaneOffset]:
    """Have lanes go on elsewhere, and return them as they are then; an owner at work is fenced.

    The offset is taken to be of the topic that there is when the next owner comes.

    Arguments:
        database: where the offsets are.
        group: the consumer group.
        topic: its topic.
        partition: one, or None for all of them.
        next_offset: where to go on; None for the beginning of the log.

    Raises:
        DependencyUnavailable: the database is down.
    """
    columns = consumer_offsets.c
    chosen = (columns.consumer_group == group) & (columns.topic == topic)
    if partition is not None:
        chosen &= columns.partition == partition
    async with database.transaction() as connection:
        moved = {"next_offset": next_offset, "epoch": columns.epoch + 1, "topic_id": None}
        await connection.execute(update(consumer_offsets).where(chosen).values(moved))
    return [
        lane
        for lane in await lane_offsets(database)
        if (lane.group, lane.topic) == (group, topic) and partition in (None, lane.partition)
    ]
