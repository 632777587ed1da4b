"""A real Kafka that asks who one is: a listener for each protocol, with certificates and passwords."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.sandbox import Cluster
from streams.sandbox.broker import Broker, Runtime
from streams.sandbox.process import HOST, free_ports
from streams.settings import KafkaSettings
from support.authority import Authority, Signed

USER, PASSWORD = "shop", "correct horse"
PROTOCOLS = {
    "TLS": "SSL",
    "MTLS": "SSL",
    "SASL": "SASL_PLAINTEXT",
    "SASLTLS": "SASL_SSL",
}
"""The listeners beside the plain one that brokers use among themselves."""


class ListeningCluster(Cluster):
    """A cluster of one broker with more listeners.

    Arguments:
        protocols: of each further listener, by its name.
        advertised: ``host:port`` of a listener that says it is elsewhere, by its name.
        options: further properties.
    """

    def __init__(
        self,
        protocols: Mapping[str, str],
        options: Mapping[str, str] | None = None,
        advertised: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(properties=options)
        self._protocols = protocols
        self._advertised = dict(advertised or {})
        self.ports = dict(zip(protocols, free_ports(len(protocols)), strict=True))

    def address(self, listener: str) -> str:
        """Where a listener is."""
        return f"{HOST}:{self.ports[listener]}"

    def _plan(self, runtime: Runtime) -> list[Broker]:
        (broker,) = super()._plan(runtime)
        properties = dict(broker._properties)
        for name, protocol in self._protocols.items():
            properties["listeners"] += f",{name}://{self.address(name)}"
            properties["advertised.listeners"] += f",{name}://{self._advertised.get(name, self.address(name))}"
            properties["listener.security.protocol.map"] += f",{name}:{protocol}"
        broker._properties = properties
        return [broker]


@dataclass(frozen=True)
class Secured:
    """A broker with all these listeners, and what is needed to come in."""

    cluster: ListeningCluster
    authority: Authority
    server: Signed
    client: Signed

    def settings(self, listener: str, **different: Any) -> KafkaSettings:
        """Return the settings that are right for a listener, but for those that are to be different."""
        return KafkaSettings(**{**self.right(listener), **different})

    def right(self, listener: str) -> dict[str, Any]:
        """Return what a listener asks for."""
        if listener == "PLAINTEXT":
            return {"bootstrap_servers": self.cluster.bootstrap_servers}
        protocol = PROTOCOLS[listener]
        right: dict[str, Any] = {"bootstrap_servers": self.cluster.address(listener), "security_protocol": protocol}
        if protocol.endswith("SSL"):
            right["ssl_cafile"] = self.authority.certificate
        if protocol.startswith("SASL"):
            right |= {"sasl_mechanism": "PLAIN", "sasl_username": USER, "sasl_password": PASSWORD}
        if listener == "MTLS":
            right |= {"ssl_certfile": self.client.certificate, "ssl_keyfile": self.client.key}
        return right


def secured(folder: Path, **options: str) -> Secured:
    """Make one, not started."""
    authority = Authority(folder, "authority")
    server, client = authority.sign("broker"), authority.sign("client")
    return Secured(
        ListeningCluster(PROTOCOLS, {**_properties(authority, server), **options}), authority, server, client
    )


def _properties(authority: Authority, server: Signed) -> dict[str, str]:
    properties = {}
    for name, protocol in PROTOCOLS.items():
        prefix = f"listener.name.{name.lower()}."
        if protocol.endswith("SSL"):
            properties |= {
                f"{prefix}ssl.keystore.type": "PEM",
                f"{prefix}ssl.keystore.location": str(server.both()),
                f"{prefix}ssl.truststore.type": "PEM",
                f"{prefix}ssl.truststore.location": str(authority.certificate),
                f"{prefix}ssl.client.auth": "required" if name == "MTLS" else "none",
            }
        if protocol.startswith("SASL"):
            properties |= {
                f"{prefix}sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
                f"{prefix}plain.sasl.jaas.config": "org.apache.kafka.common.security.plain.PlainLoginModule required "
                f'user_{USER}="{PASSWORD}";',
                f"{prefix}scram-sha-512.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                ),
            }
    return properties
