from __future__ import annotations

import pytest

from streams.kafka.topic_admin import ActualTopic, TopicSpec, differences

SPEC = TopicSpec("orders", 4, 3, {"retention.ms": "1000", "cleanup.policy": "delete"})


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (ActualTopic(4, 3, {"retention.ms": "1000", "cleanup.policy": "delete"}), ()),
        # The brokers tell of many more settings than are declared; those are their own business.
        (ActualTopic(4, 3, {**SPEC.config, "segment.bytes": "1"}), ()),
        # Older brokers leave out what they do not let everybody read.
        (ActualTopic(4, 3, {}), ()),
        (ActualTopic(6, 3, SPEC.config), ("6 partitions instead of 4",)),
        (ActualTopic(4, 1, SPEC.config), ("replication 1 instead of 3",)),
        (
            ActualTopic(4, 3, {"retention.ms": "999", "cleanup.policy": "delete"}),
            ("retention.ms=999 instead of 1000",),
        ),
        (
            ActualTopic(1, 1, {"retention.ms": "-1", "cleanup.policy": "compact"}),
            (
                "1 partitions instead of 4",
                "replication 1 instead of 3",
                "retention.ms=-1 instead of 1000",
                "cleanup.policy=compact instead of delete",
            ),
        ),
    ],
)
def test_where_a_topic_differs_is_said_in_words(actual: ActualTopic, expected: tuple[str, ...]) -> None:
    assert differences(SPEC, actual) == expected
