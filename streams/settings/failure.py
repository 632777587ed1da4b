"""What happens to a record that fails."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from streams.settings.section import Section


class FailureSettings(Section):
    """When to try again, how often, and where to put what will not succeed."""

    backoff: Literal["fixed", "exponential"] = Field("exponential", description="how pauses between attempts grow")
    initial_interval: float = Field(0.5, ge=0, description="first pause; every pause if backoff is fixed")
    multiplier: float = Field(2.0, ge=1, description="each pause so many times the one before")
    max_interval: float = Field(30.0, ge=0, description="longest pause")
    jitter: float = Field(0.1, ge=0, description="0.1: each pause is up to 10 % longer or shorter, by chance")
    max_retries: int = Field(5, ge=0, description="attempts after the first")
    max_elapsed: float = Field(
        300.0, gt=0, description="stop retrying this long after the first failure, outages not counted"
    )
    handler_timeout: float = Field(60.0, gt=0, description="longest one asynchronous handler call may take")
    pause_interval: float = Field(5.0, gt=0, description="between two probes of a dependency that is down")
    # After a bad deploy everything fails: better to stop after a hundred letters than after a million.
    max_consecutive_dead_letters: int = Field(100, ge=1, description="in a row, before the lane halts and asks")
    max_dead_letter_share: float = Field(0.5, gt=0, le=1, description="of the window, before the lane halts and asks")
    dead_letter_window: int = Field(1000, ge=1, description="records by which the share is judged")
    dead_letter_suffix: str = Field(".DLT", min_length=1, description="Spring Kafka from 3.3 on uses -dlt")
    # Both have to fit into what dead-letter topics take beyond the events' (DEAD_LETTER_ROOM of the topics).
    max_trace_bytes: int = Field(8192, ge=0, le=32_768, description="longest stack trace kept in a dead letter")
    max_message_bytes: int = Field(1024, ge=64, le=4096, description="longest error message kept in a dead letter")
