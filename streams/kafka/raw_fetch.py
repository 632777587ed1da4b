"""A partition's bytes as its broker answers them, or the error in their place.

aiokafka's consumer keeps both to itself: it asks again and again, in silence, where a broker answers with an error that
it does not know, and it throws away what it cannot take apart. Whoever wants to say what is wrong asks once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import LeaderNotAvailableError, RequestTimedOutError
from aiokafka.protocol.fetch import FetchRequest

_READ_COMMITTED: Final = 1
# Where there is nothing, that is known after this. Not at once: what lies in a remote storage is not there at once.
_WAIT_MS: Final = 200
# The layouts of aiokafka's FetchResponse: aborted transactions are the last but one, until version 11.
_WITH_REPLICA: Final = 11


@dataclass(frozen=True, slots=True)
class RawFetch:
    """What a broker answers.

    Attributes:
        error: Kafka's error code; 0 for none.
        end: offset up to which records may be read; -1 where that was not told.
        aborted: producer and first offset of each transaction in here that was aborted.
        data: batches as they lie on the disk; the last one may be cut off.
    """

    error: int
    end: int
    aborted: list[tuple[int, int]]
    data: bytes


async def fetch_raw(client: AIOKafkaClient, source: TopicPartition, offset: int, max_bytes: int) -> RawFetch:
    """Ask the leader of a partition for what lies at an offset; it answers soon, whatever there is.

    Raises:
        KafkaError: there is no leader, or it does not answer; one that asking again may mend.
    """
    leader = client.cluster.leader_for_partition(source)
    if leader is None or leader == -1:
        raise LeaderNotAvailableError(source)
    wanted = [(source.topic, [(source.partition, offset, max_bytes)])]
    answer: Any = await client.send(leader, FetchRequest(_WAIT_MS, 1, max_bytes, _READ_COMMITTED, wanted))
    if not answer.topics:
        raise RequestTimedOutError(f"the leader of {source} answers later: a quota is used up")
    ((_, ((_, error, high_watermark, *rest),)),) = answer.topics
    aborted = rest[2] if answer.API_VERSION >= _WITH_REPLICA else rest[-2]
    end = rest[0] if rest[0] >= 0 else high_watermark
    return RawFetch(error, end, [tuple(each) for each in aborted or ()], rest[-1] or b"")
