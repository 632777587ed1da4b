"""What lanes keep in Kafka beside an offset: its metadata, of which brokers take 4096 bytes by default.

One JSON object for all of them, for example::

    {"v":1,"topic":"dKmW8FZbQ3G5TNXxpAhNqw","cluster":"MkU3OEVBNTcwNTJENDM2Qk"}

``topic`` and ``cluster`` say which topic the offset is of. Whoever keeps more adds fields of its own beside them, as
the platform's files do. A reader takes the fields that it knows, and finds them missing in what earlier versions and
Kafka's own tools have committed, which is no error. ``v`` counts up when a field changes its meaning, and only then;
what has another is not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka.structs import OffsetAndMetadata

from streams.kafka.topic_id import TopicIdentity

_VERSION: Final = 1
_OURS: Final = ("v", "topic", "cluster")


@dataclass(frozen=True, slots=True)
class OffsetNote:
    """What is committed along with an offset.

    Attributes:
        topic: of which topic the offset is; None if that is not said.
        more: what else is kept, by name; values that JSON can hold.
    """

    topic: TopicIdentity | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def beside(self, offset: int) -> OffsetAndMetadata:
        """Return an offset with this beside it."""
        return OffsetAndMetadata(offset, self.to_text())

    def to_text(self) -> str:
        """Write it; nothing if there is nothing to say."""
        topic = {"topic": str(self.topic), "cluster": self.topic.cluster} if self.topic is not None else {}
        fields = {**topic, **self.more}
        return json.dumps({"v": _VERSION, **fields}, separators=(",", ":")) if fields else ""

    @classmethod
    def of(cls, text: str) -> OffsetNote:
        """Read what :meth:`to_text` wrote, and what earlier versions did; of anything else nothing is known."""
        try:
            fields = json.loads(text)
        except ValueError:
            return cls()
        # Before there was a version, files kept theirs without one.
        if not isinstance(fields, dict) or fields.get("v", _VERSION) != _VERSION:
            return cls()
        return cls(_topic(fields), {name: value for name, value in fields.items() if name not in _OURS})


def _topic(fields: Mapping[str, Any]) -> TopicIdentity | None:
    topic, cluster = fields.get("topic"), fields.get("cluster")
    if not isinstance(topic, str) or not isinstance(cluster, str | None):
        return None
    try:
        return TopicIdentity.of(topic, cluster)
    except ValueError:
        return None
