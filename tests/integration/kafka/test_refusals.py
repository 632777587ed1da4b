"""A broker that is there and does not let us in, or sends us elsewhere: said in the words of what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.authority import Authority
from support.secured import Secured

from streams.failure.errors import BrokerRefuses, ExitStatus
from streams.kafka.clients import connect
from streams.settings import KafkaSettings


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that the broker does not know."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.mark.parametrize("listener", ["PLAINTEXT", "TLS", "MTLS", "SASL", "SASLTLS"])
async def test_with_the_right_settings_every_protocol_lets_us_in(broker: Secured, listener: str) -> None:
    client = await connect(broker.settings(listener))
    try:
        await client.fetch_all_metadata()
    finally:
        await client.close()


def to(listener: str, at: str, **different: Any) -> Callable[[Secured, Authority], KafkaSettings]:
    """Settings that are right for one listener, used at another one's address."""
    return lambda broker, _: broker.settings(
        listener, **{"bootstrap_servers": broker.right(at)["bootstrap_servers"], **different}
    )


CASES: dict[str, tuple[Callable[[Secured, Authority], KafkaSettings], list[str]]] = {
    "wrong password": (
        to("SASL", "SASL", sasl_password="wrong"),
        ["refuses the password", "PAYSTREAM_KAFKA__SASL_USERNAME, PAYSTREAM_KAFKA__SASL_PASSWORD"],
    ),
    "wrong password, SCRAM, TLS": (
        to("SASLTLS", "SASLTLS", sasl_mechanism="SCRAM-SHA-512"),
        ["refuses the password", "PAYSTREAM_KAFKA__SASL_MECHANISM=SCRAM-SHA-512"],
    ),
    "wrong mechanism": (
        to("SASL", "SASL", sasl_mechanism="SCRAM-SHA-256"),
        ["PLAIN, SCRAM-SHA-512", "PAYSTREAM_KAFKA__SASL_MECHANISM=SCRAM-SHA-256 must be one of these"],
    ),
    "wrong authority": (
        lambda broker, stranger: broker.settings("TLS", ssl_cafile=stranger.certificate),
        ["authority that is not trusted", "PAYSTREAM_KAFKA__SSL_CAFILE", "stranger.pem"],
    ),
    "no authority": (
        to("TLS", "TLS", ssl_cafile=None),
        ["authority that is not trusted", "PAYSTREAM_KAFKA__SSL_CAFILE (not set"],
    ),
    "wrong host name": (
        lambda broker, _: broker.settings("TLS", bootstrap_servers=f"localhost:{broker.cluster.port('TLS')}"),
        ["certificate that is not for localhost", "PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS", "advertised.listeners"],
    ),
    "TLS to a plaintext port": (
        to("TLS", "PLAINTEXT"),
        ["speaks PLAINTEXT", "PAYSTREAM_KAFKA__SECURITY_PROTOCOL=SSL must be that"],
    ),
    "plaintext to a TLS port": (
        to("PLAINTEXT", "TLS"),
        ["speaks SSL", "PAYSTREAM_KAFKA__SECURITY_PROTOCOL=PLAINTEXT must be that"],
    ),
    "SASL to a plaintext port": (to("SASL", "PLAINTEXT"), ["speaks PLAINTEXT", "SECURITY_PROTOCOL=SASL_PLAINTEXT"]),
    "SASL_SSL to a plaintext port": (to("SASLTLS", "PLAINTEXT"), ["speaks PLAINTEXT", "SECURITY_PROTOCOL=SASL_SSL"]),
    "SASL_SSL to a TLS port": (to("SASLTLS", "TLS"), ["speaks SSL", "SECURITY_PROTOCOL=SASL_SSL"]),
    "plaintext to a SASL port": (
        to("PLAINTEXT", "SASL"),
        ["speaks SASL_PLAINTEXT (a password by PLAIN, SCRAM-SHA-512)", "SECURITY_PROTOCOL=PLAINTEXT"],
    ),
    "TLS to a SASL port": (to("TLS", "SASL"), ["speaks SASL_PLAINTEXT", "SECURITY_PROTOCOL=SSL"]),
    "TLS to a SASL_SSL port": (to("TLS", "SASLTLS"), ["speaks SASL_SSL", "SECURITY_PROTOCOL=SSL"]),
    "SASL to a SASL_SSL port": (to("SASL", "SASLTLS"), ["speaks SASL_SSL", "SECURITY_PROTOCOL=SASL_PLAINTEXT"]),
    "plaintext to a port that asks for a certificate": (
        to("PLAINTEXT", "MTLS"),
        ["asks for TLS and a client's certificate", "SECURITY_PROTOCOL=PLAINTEXT must be SSL", "SSL_CERTFILE"],
    ),
    "no client's certificate": (
        to("MTLS", "MTLS", ssl_certfile=None, ssl_keyfile=None),
        ["asks for a client's certificate", "set PAYSTREAM_KAFKA__SSL_CERTFILE and PAYSTREAM_KAFKA__SSL_KEYFILE"],
    ),
    "a client's certificate of an authority that the broker does not know": (
        lambda broker, stranger: _with_certificate(broker, stranger.sign("client")),
        ["refuses our certificate", "PAYSTREAM_KAFKA__SSL_CERTFILE", "authority that the brokers trust"],
    ),
    "an expired client's certificate": (
        lambda broker, _: _with_certificate(broker, broker.authority.sign("expired", days=-1)),
        ["refuses our certificate", "PAYSTREAM_KAFKA__SSL_CERTFILE", "has expired on 20", "renew it"],
    ),
}


def _with_certificate(broker: Secured, signed: Any) -> KafkaSettings:
    return broker.settings("MTLS", ssl_certfile=signed.certificate, ssl_keyfile=signed.key)


@pytest.mark.parametrize("case", CASES)
async def test_a_broker_that_does_not_let_us_in_is_told_from_one_that_is_away(
    case: str, broker: Secured, stranger: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    make, expected = CASES[case]
    kafka = make(broker, stranger)
    with pytest.raises(BrokerRefuses) as raised:
        await (await connect(kafka)).close()
    said = str(raised.value)
    for words in (*expected, kafka.bootstrap_servers):
        assert words in said
    assert "\n" not in said
    assert "sandbox" not in said
    assert raised.value.exit_status is ExitStatus.CONFIGURATION
    assert [record.getMessage() for record in caplog.records] == []
