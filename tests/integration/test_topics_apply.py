"""Creating the declared topics on a real broker, and saying where existing ones differ."""

from __future__ import annotations

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from support.agent import kafka_settings, unique
from support.kafka import admin

from streams.failure.errors import BrokerUnreachable, SetupError
from streams.kafka.topic_admin import TopicSpec, TopicState, apply_topics
from streams.sandbox import Cluster
from streams.sandbox.process import free_ports
from streams.settings import FailureSettings, Settings, TopicSettings
from streams.topics import declared_topics


def _spec(name: str, **changes: object) -> TopicSpec:
    fields = {"name": name, "partitions": 3, "replication": 1, "config": {"retention.ms": "3600000"}, **changes}
    return TopicSpec(**fields)  # type: ignore[arg-type]


async def test_a_missing_topic_is_created_as_it_is_declared(kafka: Cluster) -> None:
    spec = _spec(unique("apply"))
    (report,) = await apply_topics(kafka_settings(kafka.bootstrap_servers), [spec])
    assert report.state is TopicState.CREATED
    async with admin(kafka.bootstrap_servers) as client:
        (shape,) = await client.describe_topics([spec.name])
        assert len(shape["partitions"]) == 3
        (response,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, spec.name)])
        ((_code, _message, _kind, _name, entries),) = response.resources
        assert {entry[0]: entry[1] for entry in entries}["retention.ms"] == "3600000"


async def test_applying_twice_changes_nothing(kafka: Cluster) -> None:
    settings, spec = kafka_settings(kafka.bootstrap_servers), _spec(unique("apply"))
    await apply_topics(settings, [spec])
    (report,) = await apply_topics(settings, [spec])
    assert (report.state, report.differences) == (TopicState.AS_DECLARED, ())


async def test_an_existing_topic_is_never_changed_and_its_differences_are_told(kafka: Cluster) -> None:
    settings, spec = kafka_settings(kafka.bootstrap_servers), _spec(unique("apply"))
    await apply_topics(settings, [spec])
    other = _spec(spec.name, partitions=6, config={"retention.ms": "7200000"})
    for _ in range(2):
        (report,) = await apply_topics(settings, [other])
        assert report.state is TopicState.DIFFERS
        assert report.differences == ("3 partitions instead of 6", "retention.ms=3600000 instead of 7200000")


async def test_a_check_creates_nothing(kafka: Cluster) -> None:
    settings, spec = kafka_settings(kafka.bootstrap_servers), _spec(unique("apply"))
    for _ in range(2):
        (report,) = await apply_topics(settings, [spec], create=False)
        assert report.state is TopicState.MISSING
    async with admin(kafka.bootstrap_servers) as client:
        assert spec.name not in await client.list_topics()


async def test_what_is_missing_beside_what_is_there_is_created(kafka: Cluster) -> None:
    settings, there, missing = (
        kafka_settings(kafka.bootstrap_servers),
        _spec(unique("there")),
        _spec(unique("apply")),
    )
    await apply_topics(settings, [there])
    reports = await apply_topics(settings, [there, missing])
    assert [report.state for report in reports] == [TopicState.AS_DECLARED, TopicState.CREATED]


async def test_a_topic_that_the_brokers_refuse_is_named_with_their_reason(kafka: Cluster) -> None:
    spec = _spec(unique("apply"), replication=3)
    with pytest.raises(SetupError, match=rf"topic {spec.name} could not be created: .*replication factor"):
        await apply_topics(kafka_settings(kafka.bootstrap_servers), [spec])


async def test_a_pipeline_with_other_settings_gets_what_they_say(kafka: Cluster) -> None:
    suffix = unique(".dead")
    settings = Settings(failure=FailureSettings(dead_letter_suffix=suffix), topics=TopicSettings(partitions=7))
    dead_letters = [spec for spec in declared_topics(settings) if spec.name.endswith(suffix)]
    assert dead_letters
    await apply_topics(kafka_settings(kafka.bootstrap_servers), dead_letters)
    async with admin(kafka.bootstrap_servers) as client:
        for shape in await client.describe_topics([spec.name for spec in dead_letters]):
            assert len(shape["partitions"]) == 7


async def test_where_nobody_answers_the_address_is_named() -> None:
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(BrokerUnreachable, match=nobody):
        await apply_topics(kafka_settings(nobody), [_spec("any")])
