"""Certificates that are renewed on disk while clients run, well and badly."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiokafka.client import AIOKafkaClient
from support.agent import Running, running, unique
from support.authority import Authority, Signed
from support.kafka import create_topic, produce
from support.payments import Raw
from support.secured import Secured
from support.waiting import eventually

from streams.delivery.outbox import Outbox
from streams.failure.errors import BrokerRefuses, SetupError
from streams.kafka.clients import connect
from streams.kafka.credentials import tls_context
from streams.kafka.record import Record
from streams.settings import KafkaSettings


@pytest.fixture
def ours(broker: Secured, tmp_path: Path) -> Signed:
    """The files of a client's certificate that is good; each test has its own."""
    mine = Signed(tmp_path / "client.pem", tmp_path / "client.key")
    mine.overwrite(broker.client)
    return mine


def settings(broker: Secured, ours: Signed, **different: object) -> KafkaSettings:
    return broker.settings(
        "MTLS", ssl_certfile=ours.certificate, ssl_keyfile=ours.key, **{"session_timeout": 6, **different}
    )


async def comes_in(kafka: KafkaSettings) -> None:
    await (await connect(kafka)).close()


async def test_a_certificate_that_was_renewed_is_shown_from_then_on(broker: Secured, ours: Signed) -> None:
    kafka = settings(broker, ours)
    ours.overwrite(broker.authority.sign("old", days=-1))
    with pytest.raises(BrokerRefuses, match="has expired on"):
        await comes_in(kafka)
    ours.overwrite(broker.client)
    await comes_in(kafka)


async def test_an_authority_that_was_renewed_is_trusted_from_then_on(
    broker: Secured, ours: Signed, tmp_path: Path
) -> None:
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(Authority(tmp_path, "stranger").certificate.read_bytes())
    kafka = settings(broker, ours, ssl_cafile=trusted)
    with pytest.raises(BrokerRefuses, match="PAYSTREAM_KAFKA__SSL_CAFILE"):
        await comes_in(kafka)
    trusted.write_bytes(trusted.read_bytes() + broker.authority.certificate.read_bytes())
    await comes_in(kafka)


async def test_what_is_half_written_is_not_used_and_said_once(
    broker: Secured, ours: Signed, caplog: pytest.LogCaptureFixture
) -> None:
    kafka = settings(broker, ours)
    await comes_in(kafka)
    before = tls_context(kafka)
    whole = ours.certificate.read_bytes()
    for half in (whole[: len(whole) // 2], b""):
        ours.certificate.write_bytes(half)
        for _ in range(3):
            await comes_in(kafka)
    # A certificate that is another key's: it has been written, and its key not yet.
    ours.certificate.write_bytes(broker.authority.sign("next").certificate.read_bytes())
    await comes_in(kafka)
    ours.key.unlink()
    await comes_in(kafka)
    assert tls_context(kafka) is before
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 4
    assert all("PAYSTREAM_KAFKA__SSL_CERTFILE and __SSL_KEYFILE cannot be used" in line for line in said)
    ours.overwrite(broker.authority.sign("next"))
    await comes_in(kafka)
    assert tls_context(kafka) is not before


def test_what_cannot_be_used_at_the_start_is_named_by_its_setting(broker: Secured, ours: Signed) -> None:
    ours.key.write_bytes(broker.authority.sign("other").key.read_bytes())
    with pytest.raises(SetupError, match=r"__SSL_KEYFILE cannot be used \(.*client.pem.*key values mismatch"):
        tls_context(settings(broker, ours))
    with pytest.raises(SetupError, match=r"__SSL_CAFILE cannot be used \(/nowhere/ca.pem\): No such file"):
        tls_context(settings(broker, ours, ssl_cafile=Path("/nowhere/ca.pem")))


def do_nothing(record: Record, out: Outbox) -> None:
    """Let the record pass."""


@pytest.mark.deadline(120)
async def test_an_agent_goes_on_through_a_renewal_and_through_one_that_went_wrong(
    broker: Secured, ours: Signed
) -> None:
    plain = broker.cluster.bootstrap_servers
    topic = await create_topic(plain, unique("events"), 1)
    kafka = settings(broker, ours)
    async with running(plain, [topic], do_nothing, kafka=kafka, dead_letters=False) as agent:
        await produce(plain, topic, [Raw(0, b"key", b"1")])
        await agent.consumed()

        ours.overwrite(broker.authority.sign("renewed"))
        break_connections(agent)
        await produce(plain, topic, [Raw(0, b"key", b"2")])
        await agent.consumed()

        ours.overwrite(broker.authority.sign("late", days=-1))
        await eventually(
            lambda: break_connections(agent) or "has expired on" in agent.source.trouble, "the refusal to be named"
        )
        ours.overwrite(broker.client)
        await produce(plain, topic, [Raw(0, b"key", b"3")])
        await agent.consumed()
        await eventually(lambda: agent.source.trouble == "", "the trouble to have passed")
        assert agent.handed_over() == 3


def break_connections(agent: Running) -> None:
    """Have all connections of the agent's clients made anew, as a broker that is started anew does."""
    consumer = agent.source._consumer
    assert consumer is not None
    clients: list[AIOKafkaClient] = [consumer._client]
    clients += [lane._finisher._producer.client for lane in agent.source.lanes.values()]
    for client in clients:
        for connection in list(client._conns.values()):
            connection.close()
