"""Records that no well-behaved producer writes."""

from __future__ import annotations

import struct
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c

from support.payments import Raw

# Record batch, version 2: https://kafka.apache.org/documentation/#recordbatch. The checksum follows base offset
# (8 bytes), length (4), leader epoch (4) and magic (1), and covers everything after itself.
_CRC_AT = 17
_CHECKED_FROM = 21


class _Forger(BatchBuilder):  # type: ignore[misc]
    """Replaces bytes of the finished batch by as many others, and mends its checksum.

    aiokafka's own builder writes header names from ``str``, and so can write nothing but UTF-8.
    """

    def __init__(self, true: bytes, false: bytes, **kwargs: Any) -> None:
        super().__init__(1_000_000, 0, **kwargs)
        assert len(true) == len(false)
        self._true, self._false = true, false

    def _build(self) -> bytearray:
        forged = bytearray(bytes(super()._build()).replace(self._true, self._false))
        struct.pack_into(">I", forged, _CRC_AT, calc_crc32c(bytes(forged[_CHECKED_FROM:])))
        self._buffer = forged
        return forged


async def produce_forged(servers: str, topic: str, records: list[Raw], true: str, false: bytes) -> None:
    """Write records of one partition as one batch, in which `true` has been replaced by `false`."""
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    try:
        forger = _Forger(true.encode(), false)
        for record in records:
            forger.append(timestamp=None, key=record.key, value=record.value, headers=list(record.headers))
        await (await producer.send_batch(forger, topic, partition=records[0].partition))
    finally:
        await producer.stop()
