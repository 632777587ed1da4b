"""What is too large for a topic as it stands, and fits when it is compressed.

Brokers compare ``max.message.bytes`` with the batch as it is sent to them. So a record may be many times as large as
its topic seems to allow, if whoever wrote it compressed it; and what follows from it has to be compressed as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch


def squeezed(
    key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]], *, transactional: bool
) -> BatchBuilder:
    """Make a batch of one record, compressed with zstd: what it is for was so large that only that made it fit."""
    batch = BatchBuilder(0, DefaultRecordBatch.CODEC_ZSTD, is_transactional=transactional)
    batch.append(timestamp=None, key=key, value=value, headers=headers)
    return batch


def squeezed_bytes(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> int:
    """Say how large that batch is; no larger than it is uncompressed."""
    return len(squeezed(key, value, headers, transactional=False)._build())
