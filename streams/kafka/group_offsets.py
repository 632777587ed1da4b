"""Asking for a group's committed offset, and believing only an answer.

aiokafka's ``committed()`` takes an error of the whole response (another broker is the coordinator now, it is
still loading, no right to the group) for "nothing committed": it does not look at the field that version 2
of OffsetFetch introduced for it. A lane that believed it would read its partition from the beginning again.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import OffsetAndMetadata

_RETRY_SECONDS: Final = 0.1


async def committed_position(
    consumer: AIOKafkaConsumer, group: str, source: TopicPartition
) -> OffsetAndMetadata | None:
    """Return what the group has committed, with the metadata that came along; None if it has nothing.

    Asks until it is told: limit the time outside.

    Raises:
        KafkaError: an error that asking again does not mend.
    """
    coordinator = consumer._coordinator
    while True:
        try:
            await coordinator.ensure_coordinator_known()
            request = OffsetFetchRequest(group, [(source.topic, [source.partition])])
            answer = await coordinator._send_req(request)
            _refuse(getattr(answer, "error_code", 0))
            ((_, ((_, offset, metadata, code),)),) = answer.topics
            _refuse(code)
            return None if offset < 0 else OffsetAndMetadata(int(offset), metadata or "")
        except KafkaError as error:
            if not error.retriable:
                raise
            coordinator.coordinator_dead()
            await asyncio.sleep(_RETRY_SECONDS)


def _refuse(code: int) -> None:
    if code:
        raise for_code(code)()
