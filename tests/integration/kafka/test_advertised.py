"""Brokers that send their clients where nobody is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from support.secured import START_SECONDS, ListeningCluster

from streams.failure.errors import BrokerMisconfigured, BrokerUnreachable, ExitStatus
from streams.kafka.clients import connect
from streams.sandbox.process import free_ports
from streams.settings import KafkaSettings


@pytest.fixture(scope="module")
def cluster() -> Iterator[ListeningCluster]:
    """One broker with listeners that are said to be elsewhere."""
    elsewhere = {"NONAME": "kafka-7.invalid:9092", "NOBODY": f"127.0.0.1:{free_ports(1)[0]}", "NOHOST": "a..b:9092"}
    made = ListeningCluster(dict.fromkeys(elsewhere, "PLAINTEXT"), advertised=elsewhere)
    asyncio.run(made.start(START_SECONDS))
    yield made
    asyncio.run(made.stop())


@pytest.mark.parametrize(("listener", "said"), [("NONAME", "kafka-7.invalid"), ("NOHOST", "a..b")])
async def test_a_broker_that_advertises_a_name_that_there_is_not_is_named(
    cluster: ListeningCluster, listener: str, said: str
) -> None:
    with pytest.raises(BrokerMisconfigured) as raised:
        await connect(KafkaSettings(bootstrap_servers=cluster.address(listener)))
    message = str(raised.value)
    assert f"broker 1 says that it is at {said}:9092, and there is no host of the name {said}" in message
    assert "advertised.listeners" in message
    assert raised.value.exit_status is ExitStatus.CONFIGURATION


async def test_a_broker_that_advertises_an_address_where_nobody_listens_may_come_back(
    cluster: ListeningCluster,
) -> None:
    with pytest.raises(BrokerUnreachable) as raised:
        await connect(KafkaSettings(bootstrap_servers=cluster.address("NOBODY")))
    message = str(raised.value)
    assert f"a broker answers at {cluster.address('NOBODY')}, but none where they say that they are" in message
    assert "broker 1 at 127.0.0.1:" in message
    assert "advertised.listeners" in message
    assert raised.value.exit_status is ExitStatus.UNREACHABLE
