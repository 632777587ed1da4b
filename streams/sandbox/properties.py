"""Kafka's ``server.properties`` for the nodes of a sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from streams.failure.errors import SandboxError
from streams.sandbox.process import HOST

# A record as large as any topic of ours allows (2 MiB by default), twice over.
_MAX_MESSAGE_BYTES = 4_194_304
# Kafka's 50 partitions spread load over a large cluster. Here they cost start-up and failover time.
_INTERNAL_PARTITIONS = 4
# The log cleaner takes its buffer from the heap at start: Kafka's 128 MiB would be a third of it.
_CLEANER_BUFFER_BYTES = 8_388_608


@dataclass(frozen=True, slots=True)
class Node:
    """Where one broker-and-controller listens."""

    id: int
    port: int
    controller_port: int


def node_properties(
    node: Node, nodes: Sequence[Node], data: Path, overrides: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the properties of one node of a cluster.

    Every record has a copy on up to three nodes. With three or more, a write is acknowledged by two of them,
    so that one may die without a loss and without a stop.

    Arguments:
        node: the one these properties are for.
        nodes: all of them, this one too.
        data: folder for its log segments.
        overrides: what the caller wants different.
    """
    copies = min(len(nodes), 3)
    acknowledging = 2 if copies == 3 else 1
    partitions = str(_INTERNAL_PARTITIONS)
    client = f"PLAINTEXT://{HOST}:{node.port}"
    properties = {
        "process.roles": "broker,controller",
        "node.id": str(node.id),
        "controller.quorum.voters": ",".join(f"{each.id}@{HOST}:{each.controller_port}" for each in nodes),
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{client},CONTROLLER://{HOST}:{node.controller_port}",
        "advertised.listeners": client,
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "default.replication.factor": str(copies),
        "min.insync.replicas": str(acknowledging),
        "message.max.bytes": str(_MAX_MESSAGE_BYTES),
        "replica.fetch.max.bytes": str(_MAX_MESSAGE_BYTES),
        "offsets.topic.replication.factor": str(copies),
        "offsets.topic.num.partitions": partitions,
        "transaction.state.log.replication.factor": str(copies),
        "transaction.state.log.min.isr": str(acknowledging),
        "transaction.state.log.num.partitions": partitions,
        "share.coordinator.state.topic.replication.factor": str(copies),
        "share.coordinator.state.topic.min.isr": str(acknowledging),
        "share.coordinator.state.topic.num.partitions": partitions,
        # Kafka waits 3 s for more members before the first assignment of a group. Nobody else will come.
        "group.initial.rebalance.delay.ms": "0",
        "log.cleaner.dedupe.buffer.size": str(_CLEANER_BUFFER_BYTES),
    }
    return {**properties, **(overrides or {})}


def as_text(properties: Mapping[str, str]) -> str:
    """Write properties as Java reads them: a backslash is its escape character.

    Raises:
        SandboxError: a key or value is not one line.
    """
    for key, value in properties.items():
        if len(f"{key}={value}".splitlines()) != 1:
            raise SandboxError(f"the Kafka property {key!r} must be one line")
    return "".join(f"{key}={value}\n".replace("\\", "\\\\") for key, value in properties.items())
