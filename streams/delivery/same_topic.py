"""Whether a lane's topic is still the one that it began with.

A topic that is deleted and made anew has the same name, and so records are fetched, and offsets committed, as if
nothing had happened: what lies before the old offset would be skipped in silence. Fetches name no topic's id, and
neither does a commit. So a lane asks which topic it is when it begins, and again for each batch, after the batch was
fetched and before its offset is committed: ids never return, so the same answer twice means the same topic in between.

A topic may still be swapped after the answer and before the commit. So the offset carries the id with it, and whoever
reads it sees that it is of another topic.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from aiokafka.structs import OffsetAndMetadata
from async_timeout import timeout

from streams.failure.errors import DependencyUnavailable, TopicDeleted, TopicMadeAnew
from streams.kafka.offset_note import OffsetNote
from streams.kafka.topic_id import TopicIdentity, topic_identity

logger = logging.getLogger(__name__)

# A topic that has as many records as its predecessor is not noticed by reading on: there is nothing to read.
_GLANCE_SECONDS: Final = 5.0
# A lane with nothing to do does not wait for brokers for long; that there is no such topic is believed after a second.
_GLANCE_LASTS: Final = 3.0


DEPENDENCY: Final = "kafka"
"""The name under which breakers and pages show brokers that do not say which topic it is."""


class SameTopic:
    """Knows which topic a lane began with.

    Arguments:
        consumer: the group's.
        group: its name.
        source: the partition.

    Attributes:
        began_with: what the topic was then; None before that, and where brokers do not tell.
    """

    def __init__(self, consumer: AIOKafkaConsumer, group: str, source: TopicPartition) -> None:
        self.began_with: TopicIdentity | None = None
        self._consumer = consumer
        self._group = group
        self._source = source
        self._glance_at = 0.0

    async def begin(self) -> None:
        """Note which topic it is; before the committed offset is read, or that might be the former one's.

        Raises:
            TopicDeleted: there is none.
        """
        self.began_with = await self._ask()
        self._glance_at = time.monotonic() + _GLANCE_SECONDS

    async def require(self) -> None:
        """Make sure that the topic is still the same.

        Raises:
            TopicMadeAnew: it is not.
            TopicDeleted: there is none.
        """
        if self.began_with is not None:
            self._compare(await self._ask())

    @contextlib.asynccontextmanager
    async def required(self, patience: float | None = None) -> AsyncIterator[None]:
        """Ask beside what the block does, and be told by its end.

        Arguments:
            patience: seconds to wait for the answer, for a block that keeps others waiting; None for as long as the
                lane's deadline allows.

        Raises:
            DependencyUnavailable: no broker has answered within `patience`.
            TopicMadeAnew: it is another one.
            TopicDeleted: there is none.
        """
        if self.began_with is None:
            yield
            return
        asking = asyncio.ensure_future(self._ask())
        asking.add_done_callback(_heed)
        try:
            yield
            await asyncio.wait({asking}, timeout=patience)
            if not asking.done():
                raise DependencyUnavailable(
                    DEPENDENCY, f"no broker has said for {patience:g} s which topic {self._source.topic} is"
                )
            self._compare(asking.result())
        finally:
            asking.cancel()

    async def glance(self) -> None:
        """Ask now and then, while nothing arrives; brokers that do not answer are no matter.

        Raises:
            TopicMadeAnew: it is another one.
            TopicDeleted: there is none.
        """
        if self.began_with is None or time.monotonic() < self._glance_at:
            return
        self._glance_at = time.monotonic() + _GLANCE_SECONDS
        with contextlib.suppress(asyncio.TimeoutError, KafkaError):
            async with timeout(_GLANCE_LASTS):
                await self.require()

    def note(self, offset: int, **more: Any) -> OffsetAndMetadata:
        """Return an offset of this topic, to be committed."""
        return OffsetNote(self.began_with, more).beside(offset)

    def is_ours(self, position: OffsetAndMetadata) -> bool:
        """Tell whether a committed offset is of this topic; one that does not say so is taken to be."""
        former = OffsetNote.of(position.metadata).topic
        if self.began_with is None or not self.began_with.is_another_than(former):
            return True
        logger.warning(
            "%s:%s-%d: the committed offset %d is of a topic that was deleted since (its id was %s, and is %s now)",
            self._group, self._source.topic, self._source.partition, position.offset, former, self.began_with,
        )  # fmt: skip
        return False

    async def _ask(self) -> TopicIdentity | None:
        try:
            return await topic_identity(self._consumer._client, self._source)
        except UnknownTopicOrPartitionError as error:
            raise TopicDeleted(
                f"{self._source.topic} is not there any more: 'paystream topics apply' creates it, and then it is read "
                "from its beginning"
            ) from error

    def _compare(self, now: TopicIdentity | None) -> None:
        if now is not None and now.is_another_than(self.began_with):
            raise TopicMadeAnew(
                f"{self._source.topic} was deleted and made anew (its id was {self.began_with}, and is {now} now). "
                "What was read and not committed is given up; the new one is read from its beginning"
            )


def _heed(asked: asyncio.Future[TopicIdentity | None]) -> None:
    """A failure of the block comes first; without this, the question's would be logged as one that nobody saw."""
    if not asked.cancelled():
        asked.exception()
