"""How batches are formed and finished."""

from __future__ import annotations

import enum

from pydantic import Field

from streams.settings.section import Section


class Guarantee(str, enum.Enum):
    """How a batch is finished; see :mod:`streams.delivery.guarantee`."""

    EXACTLY_ONCE = "exactly_once"
    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


class DeliverySettings(Section):
    """How batches are formed, finished and stopped."""

    guarantee: Guarantee = Field(
        Guarantee.EXACTLY_ONCE, description="what a crash may do to the outputs: nothing, repeat them, lose them"
    )
    # A transaction costs about ten round trips; at 2,000 records they are 3 % of the batch's cost.
    max_batch_records: int = Field(2000, ge=1, description="most records in one batch, so in one transaction")
    max_batch_bytes: int = Field(4_194_304, ge=1, description="most bytes of one partition fetched at a time")
    concurrency: int = Field(4, ge=1, description="actors per agent: handlers that may wait on the world at once")
    stop_timeout: float = Field(5.0, gt=0, description="time to finish the batch in hand when told to stop")
    # Longer than a rebalance, a broker's failover (some 10 s) and the brokers' deadline below kafka.
    stall_after: float = Field(90.0, gt=0, description="without progress for so long, a lane with work is not alive")
