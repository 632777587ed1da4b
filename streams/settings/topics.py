"""What the topics are to look like."""

from __future__ import annotations

from typing import Final

from pydantic import Field, model_validator

from streams.settings.section import Section

# A dead letter is the original, whatever its size, plus headers: trace and message are capped at some 40 KB.
DEAD_LETTER_ROOM: Final = 65_536


class TopicSettings(Section):
    """What ``paystream topics apply`` creates."""

    partitions: int = Field(4, ge=1, description="of every topic: the limit of workers that can share the work")
    replication: int = Field(1, ge=1, description="3 in production")
    min_insync_replicas: int = Field(1, ge=1, description="2 in production")
    retention: float = Field(7 * 86_400, gt=0, description="of events")
    dead_letter_retention: float = Field(30 * 86_400, gt=0, description="of dead letters: longer than events")
    # Kafka's default of 1 MiB is too little for an event of 1 MiB with its headers; twice that leaves room.
    max_message_bytes: int = Field(2_097_152, ge=32_768, description="largest event; dead letters may be larger")

    @model_validator(mode="after")
    def _insync_fits(self) -> TopicSettings:
        if self.min_insync_replicas > self.replication:
            raise ValueError(
                "PAYSTREAM_TOPICS__MIN_INSYNC_REPLICAS is larger than PAYSTREAM_TOPICS__REPLICATION: nothing could be "
                "written"
            )
        return self
