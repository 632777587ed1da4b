"""A dead letter as ``paystream dead-letters list`` and ``show`` print it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class DeadLetterView(BaseModel):
    """One dead letter: where it lies, where it came from and why. Holds no payload.

    Everything that is read from headers may be missing: other programs write dead letters too, and
    write fewer of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: str = Field(description="the dead-letter topic")
    partition: int
    offset: int
    order_id: str | None = Field(None, description="the record's key; null if it is not text")

    origin_topic: str | None = Field(None, description="where the record was first read")
    origin_partition: int | None = None
    origin_offset: int | None = None
    origin_timestamp: datetime | None = Field(None, description="the record's own timestamp there")
    consumer_group: str | None = Field(None, description="the group whose handler failed last")

    stage: str | None = Field(None, description="decode, validate, handle or publish; others use other words")
    disposition: str | None = Field(None, description="permanent, exhausted or manual")
    attempts: int | None = Field(None, description="attempts made before it was given up")
    reason: str | None = Field(None, description="one line without payload")
    exception_class: str | None = Field(None, description="of the root cause")
    first_failed_at: datetime | None = None
    failed_at: datetime | None = None
    fingerprint: str | None = Field(None, description="equal for failures at one place of the code")
    replay_count: int = Field(0, description="how often it has been sent back")
