"""The fourth guarantee: a batch's effects and its offset in one SQL transaction.

The offset lives in the database, next to the effects, in a row of its own for each lane. Whoever becomes the
lane's owner counts the row's epoch up and goes on at the offset it finds there; whoever commits moves the offset
from where it left it, under its own epoch, or not at all::

    UPDATE consumer_offsets SET next_offset = :new
     WHERE … AND epoch = :mine AND next_offset = :expected

A former owner that wakes up again finds no such row, rolls back, and has changed nothing. What the row says
after a commit whose answer was lost, is what has happened.

Effects may be declined one by one, by what only the database knows: then all is rolled back, the records are dead
letters, and the rest of the batch comes again.

Dead letters go to Kafka within the transaction, just before its commit: a crash in between may write one twice, never
none, and neither a former owner nor a batch that the database refuses writes any. The group's offset in Kafka is told
afterwards, so that tools that show lag do; nothing is read from it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from sqlalchemy import ColumnElement, and_, case, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streams.database.effects import Effects
from streams.database.engine import DEPENDENCY, Database
from streams.database.statements import insert_for
from streams.database.tables import consumer_offsets
from streams.database.trouble import is_conflict, is_database_error, is_down, said
from streams.delivery.batch import EffectsDeclined, Settled
from streams.delivery.crash_points import crash_point
from streams.delivery.guarantee import Finisher
from streams.failure.errors import DependencyUnavailable, EffectsRefused, LaneFenced, TopicMadeAnew
from streams.kafka.clients import make_producer
from streams.settings import KafkaSettings

logger = logging.getLogger(__name__)

# Rows are locked while a broker is asked which topic it is: an answer takes milliseconds, and what others wait for must
# not be Kafka. It is asked again in a transaction of its own.
_PATIENCE_WITH_BROKERS: Final = 2.0
# Two transactions in each other's way are rare, for rows are touched in order; more than this is a defect elsewhere.
_CONFLICTS_ALLOWED: Final = 10
_CONFLICT_PAUSE: Final = 0.05
_TELL_SECONDS: Final = 1.0

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class InDatabase(Generic[E]):
    """Finish the batches of an agent in the database.

    Attributes:
        database: where its effects and its offsets are.
        effects: what carries the effects out.
    """

    database: Database
    effects: Effects[E]

    def connections(self, brokers: int, *, dead_letters: bool) -> int:
        """Say how many connections the producer of one partition may come to have."""
        return brokers

    def make(
        self, kafka: KafkaSettings, consumer: AIOKafkaConsumer, group: str, source: TopicPartition
    ) -> DatabaseFinisher[E]:
        """Make the finisher of one partition."""
        return DatabaseFinisher(make_producer(kafka), consumer, group, source, self.database, self.effects)


class DatabaseFinisher(Finisher, Generic[E]):
    """Finishes the batches of one partition in the database.

    Arguments:
        producer: for dead letters and outputs; not started, this partition's alone.
        consumer: the group's consumer.
        group: its name.
        source: the partition.
        database: where effects and offset are.
        effects: what carries the effects out.
    """

    takes_effects = True

    def __init__(
        self,
        producer: AIOKafkaProducer,
        consumer: AIOKafkaConsumer,
        group: str,
        source: TopicPartition,
        database: Database,
        effects: Effects[E],
    ) -> None:
        super().__init__(producer, consumer, group, source)
        self._database = database
        self._effects = effects
        self._epoch = 0
        self._offset: int | None = None
        self._delivered: Settled | None = None
        self._telling: asyncio.Task[None] | None = None

    async def committed(self) -> int | None:
        """Become the lane's owner, and return the offset to go on at.

        Raises:
            DependencyUnavailable: the database is down.
            EffectsRefused: a table, or the right to it, is missing.
            TopicMadeAnew: the offset is of a topic that was deleted since.
        """
        await self.topic.begin()
        there = self.topic.began_with
        try:
            await self._take_over(None if there is None else str(there.id))
        except Exception as error:
            if is_database_error(error):
                raise self._refusal("be taken over", error) from error
            raise
        if self._offset is not None:
            self._tell()  # a former owner may not have lived to do it
        return self._offset

    async def _take_over(self, topic: str | None) -> None:
        columns = consumer_offsets.c
        async with self._database.transaction() as connection:
            taken = insert_for(connection, consumer_offsets).values(
                consumer_group=self._group, topic=self._source.topic, partition=self._source.partition, epoch=1,
                topic_id=topic,
            )  # fmt: skip
            # Without an offset it is of no topic yet, and one that an older paystream has written is of this one.
            before = case((columns.next_offset.is_(None), None), else_=columns.topic_id)
            taken = taken.on_conflict_do_update(
                index_elements=list(consumer_offsets.primary_key),
                set_={"epoch": columns.epoch + 1, "topic_id": func.coalesce(before, taken.excluded.topic_id)},
            )
            told = taken.returning(columns.epoch, columns.next_offset, columns.topic_id)
            row = (await connection.execute(told)).one()
            if topic not in (None, row.topic_id):
                raise TopicMadeAnew(
                    f"{self._group} is to go on at offset {row.next_offset} of {self._source.topic}-"
                    f"{self._source.partition}, but that was in a topic that was deleted since (its id was "
                    f"{row.topic_id}, and is {topic} now). {self._decide()}"
                )
        self._epoch, self._offset = row.epoch, row.next_offset

    async def finish(self, settled: Settled) -> Sequence[Settled]:
        """Write effects and offset together, and dead letters and outputs before they are committed.

        Raises:
            DependencyUnavailable: the database is down.
            EffectsRefused: it refuses the effects.
            LaneFenced: another owner has the lane.
            EffectsDeclined: effects of some records must not happen.
            TopicMadeAnew: what was read may be of another topic than that of the offset.
        """
        try:
            await self._persist(settled)
        except TopicMadeAnew as error:
            if self._offset is None:
                raise  # it has no offset yet, and so no topic that it is of
            raise TopicMadeAnew(
                f"{self._source.topic} was deleted and made anew while {self._group} was at offset {self._offset} of "
                f"{self._source.topic}-{self._source.partition}. What was read and not committed is given up. "
                f"{self._decide()}"
            ) from error
        self._delivered = None
        self._offset = settled.next_offset
        crash_point("after_offsets")
        self._tell()
        return (settled,)

    def _tell(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_kafka())

    async def _persist(self, settled: Settled) -> None:
        for _ in range(_CONFLICTS_ALLOWED):
            try:
                # The question is answered before the transaction is committed.
                async with self._database.transaction() as connection, self.topic.required(_PATIENCE_WITH_BROKERS):
                    if await self._move(connection, settled.next_offset):
                        if settled.effects:
                            await self._apply(connection, settled)
                        await self._deliver_once(settled)
                return
            except (DependencyUnavailable, EffectsDeclined):
                raise
            except Exception as error:
                if is_database_error(error) and not is_conflict(error):
                    raise self._refusal("move its offset", error) from error
                if not is_conflict(error):
                    raise
            await asyncio.sleep(_CONFLICT_PAUSE * random.random())
        raise DependencyUnavailable(DEPENDENCY, f"{_CONFLICTS_ALLOWED} transactions in a row were in another's way")

    async def _deliver_once(self, settled: Settled) -> None:
        """Write what goes to Kafka; when the transaction has to be run again, it is there already."""
        if self._delivered is not settled:
            await self._deliver_alone(settled.outputs)
            self._delivered = settled
        crash_point("after_send")

    async def _move(self, connection: AsyncConnection, next_offset: int) -> bool:
        """Move the offset; False if this very batch has moved it before, and only the answer was lost."""
        column = consumer_offsets.c.next_offset
        mine = and_(self._row(), consumer_offsets.c.epoch == self._epoch, column.is_not_distinct_from(self._offset))
        moved = await connection.execute(update(consumer_offsets).where(mine).values(next_offset=next_offset))
        if moved.rowcount == 1:
            return True
        row = (await connection.execute(select(consumer_offsets).where(self._row()))).one_or_none()
        if row is not None and (row.epoch, row.next_offset) == (self._epoch, next_offset):
            return False
        raise LaneFenced(
            f"{self._group} lost {self._source.topic}-{self._source.partition} to another owner, or somebody moved its "
            "offset in the database, or a server took over there that lacks the last commits: the offset is "
            f"{row.next_offset if row is not None else 'gone'} now; nothing was committed"
        )

    def _refusal(self, what: str, error: Exception) -> EffectsRefused:
        return EffectsRefused(
            f"{self._source.topic}-{self._source.partition} cannot {what} in the database: {said(error)}; 'paystream "
            "database check' tells more"
        )

    def _decide(self) -> str:
        return (
            f"Decide where to go on, as in 'paystream database seek {self._group} {self._source.topic} beginning': "
            "what was done already is known by its id, and not done again"
        )

    def _row(self) -> ColumnElement[bool]:
        columns = consumer_offsets.c
        return and_(
            columns.consumer_group == self._group,
            columns.topic == self._source.topic,
            columns.partition == self._source.partition,
        )

    async def _apply(self, connection: AsyncConnection, settled: Settled) -> None:
        try:
            declined = await self._effects.apply(connection, settled.effects)
            # By the first of a record's effects, if several are declined.
            errors = {settled.askers[each.index]: each.error for each in reversed(declined or ())}
        except Exception as error:
            if is_down(error) or is_conflict(error) or isinstance(error, DependencyUnavailable):
                raise
            what = said(error) if is_database_error(error) else type(error).__name__
            raise EffectsRefused(
                f"{self._group} cannot carry out what {self._source.topic}-{self._source.partition} asks for from "
                f"offset {self._offset or 0} on: {what}"
            ) from error
        if errors:
            raise EffectsDeclined(errors)

    async def _tell_kafka(self) -> None:
        """Commit the group's offset too, for tools that show lag; a failure is of no consequence."""
        told = None
        while self._offset is not None and told != self._offset:
            told = self._offset
            try:
                await self._consumer.commit({self._source: self.topic.note(told)})
            except (KafkaError, ValueError) as error:
                logger.debug("%s: the offset is in the database, but not in Kafka: %s", self._group, error)
                return

    async def close(self) -> None:
        """Let go of the producer."""
        if self._telling is not None:
            await asyncio.wait({self._telling}, timeout=_TELL_SECONDS)
            self._telling.cancel()
        await super().close()
