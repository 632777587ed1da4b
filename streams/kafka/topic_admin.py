"""Creating the declared topics, and saying where existing ones differ from what is declared."""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from aiokafka.protocol.metadata import MetadataRequest

from streams.failure.errors import SetupError
from streams.kafka.clients import connect, make_admin
from streams.settings import KafkaSettings

# News of a topic takes milliseconds to go round a healthy cluster.
_SPREADING_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic should look like on the brokers."""

    name: str
    partitions: int
    replication: int
    config: dict[str, str]
    """Kafka's topic configuration, for example ``{"retention.ms": "604800000"}``."""


class TopicState(str, enum.Enum):
    """How a declared topic stands."""

    AS_DECLARED = "as declared"
    CREATED = "created"
    MISSING = "missing"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class ActualTopic:
    """What the brokers say of a topic."""

    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TopicReport:
    """A declared topic, how it stands, and where it differs."""

    spec: TopicSpec
    state: TopicState
    differences: tuple[str, ...] = ()


def differences(spec: TopicSpec, actual: ActualTopic) -> tuple[str, ...]:
    """Say in words where a topic differs from its declaration."""
    found = []
    if actual.partitions != spec.partitions:
        found.append(f"{actual.partitions} partitions instead of {spec.partitions}")
    if actual.replication != spec.replication:
        found.append(f"replication {actual.replication} instead of {spec.replication}")
    found += [
        f"{name}={actual.config[name]} instead of {value}"
        for name, value in spec.config.items()
        if actual.config.get(name, value) != value
    ]
    return tuple(found)


async def apply_topics(kafka: KafkaSettings, specs: Sequence[TopicSpec], *, create: bool = True) -> list[TopicReport]:
    """Create what is missing (if `create`) and report on every topic. Existing topics are never changed.

    Raises:
        BrokerUnreachable: nothing answers.
        SetupError: the brokers refused to create a topic, with their reason.
    """
    await (await connect(kafka)).close()
    admin = make_admin(kafka)
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        missing = [spec for spec in specs if spec.name not in existing]
        if create and missing:
            await _create(admin, missing)
            await known_everywhere(kafka, missing)
        actual = await _describe(admin, [spec.name for spec in specs if spec.name in existing])
    except KafkaError as error:
        raise SetupError(f"the brokers at {kafka.bootstrap_servers} said: {error}") from error
    finally:
        await admin.close()
    return [_report(spec, actual.get(spec.name), created=create) for spec in specs]


def _report(spec: TopicSpec, actual: ActualTopic | None, *, created: bool) -> TopicReport:
    if actual is None:
        return TopicReport(spec, TopicState.CREATED if created else TopicState.MISSING)
    found = differences(spec, actual)
    return TopicReport(spec, TopicState.DIFFERS if found else TopicState.AS_DECLARED, found)


async def _create(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> None:
    response = await admin.create_topics(
        [NewTopic(spec.name, spec.partitions, spec.replication, topic_configs=dict(spec.config)) for spec in specs]
    )
    for topic, code, message in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise SetupError(f"topic {topic} could not be created: {message or error.__name__}")


async def known_everywhere(kafka: KafkaSettings, specs: Sequence[TopicSpec]) -> None:
    """Wait until every broker knows the new topics and their leaders: each hears of them in its own time.

    Whoever asks the wrong one before that is told that there is no such topic. A broker that is down is not
    waited for.
    """
    partitions = [TopicPartition(spec.name, number) for spec in specs for number in range(spec.partitions)]
    request = MetadataRequest([spec.name for spec in specs], False)
    give_up = time.monotonic() + _SPREADING_SECONDS
    client = await connect(kafka)
    try:
        for broker in client.cluster.brokers():
            while time.monotonic() < give_up:
                known = ClusterMetadata()
                try:
                    known.update_metadata(await client.send(broker.nodeId, request))
                except KafkaError:
                    break
                if all(known.leader_for_partition(partition) not in (None, -1) for partition in partitions):
                    break
                await asyncio.sleep(0.05)
    finally:
        await client.close()


async def _describe(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, ActualTopic]:
    if not names:
        return {}
    shapes: list[dict[str, Any]] = await admin.describe_topics(list(names))
    configs: dict[str, dict[str, str]] = {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    for response in await admin.describe_configs(resources):
        for code, message, _kind, name, entries in response.resources:
            if code:
                raise SetupError(f"the configuration of {name} cannot be read: {message or for_code(code).__name__}")
            configs[name] = {entry[0]: entry[1] for entry in entries}
    return {
        shape["topic"]: ActualTopic(
            partitions=len(shape["partitions"]),
            replication=len(shape["partitions"][0]["replicas"]),
            config=configs.get(shape["topic"], {}),
        )
        for shape in shapes
        if shape["partitions"]  # else it was deleted a moment ago
    }
