"""No agent: lets what Kafka's client says again pass after half a second instead of a minute."""

from streams.kafka import client_log

client_log._SECONDS = 0.5  # type: ignore[misc]
