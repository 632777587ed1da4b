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

START_SECONDS = 180.0
"""For brokers of tests' own, which start while others do: on a busy machine that takes many times what it should."""
USER, PASSWORD = "shop", "correct horse"
PROTOCOLS = {
    "TLS": "SSL",
    "MTLS": "SSL",
    "SASL": "SASL_PLAINTEXT",
    "SASLTLS": "SASL_SSL",
}
"""The listeners beside the plain one that brokers use among themselves."""


class ListeningCluster(Cluster):
    """A cluster whose brokers have more listeners.

    Arguments:
        protocols: of each further listener, by its name.
        advertised: ``host:port`` of a listener that says it is elsewhere, by its name.
        options: further properties.
        brokers: how many.
    """

    def __init__(
        self,
        protocols: Mapping[str, str],
        options: Mapping[str, str] | None = None,
        advertised: Mapping[str, str] | None = None,
        brokers: int = 1,
    ) -> None:
        super().__init__(brokers=brokers, properties=options)
        self._protocols = protocols
        self._advertised = dict(advertised or {})
        keys = [(name, node) for node in range(1, brokers + 1) for name in protocols]
        self._ports = dict(zip(keys, free_ports(len(keys)), strict=True))

    def port(self, listener: str, node: int = 1) -> int:
        """The port of a broker's listener."""
        return self._ports[listener, node]

    def address(self, listener: str, node: int = 1) -> str:
        """Where a broker's listener is."""
        return f"{HOST}:{self.port(listener, node)}"

    async def restart(self, node: int = 1, properties: Mapping[str, str] | None = None) -> None:
        """Start a broker anew with other properties, if any."""
        broker = self.brokers[node - 1]
        broker._properties = {**broker._properties, **(properties or {})}
        await broker.stop()
        await broker.start()
        await broker.wait_until_ready(START_SECONDS)

    def _plan(self, runtime: Runtime) -> list[Broker]:
        brokers = super()._plan(runtime)
        for broker in brokers:
            properties = dict(broker._properties)
            for name, protocol in self._protocols.items():
                at = self.address(name, broker.node_id)
                properties["listeners"] += f",{name}://{at}"
                properties["advertised.listeners"] += f",{name}://{self._advertised.get(name, at)}"
                properties["listener.security.protocol.map"] += f",{name}:{protocol}"
            broker._properties = properties
        return brokers


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


def secured(folder: Path, brokers: int = 1) -> Secured:
    """Make one, not started."""
    authority = Authority(folder, "authority")
    server, client = authority.sign("broker"), authority.sign("client")
    cluster = ListeningCluster(PROTOCOLS, _properties(authority, server), brokers=brokers)
    return Secured(cluster, authority, server, client)


def password_of(listener: str, password: str) -> dict[str, str]:
    """Return the property that says what a listener takes for the user's password."""
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    return {f"listener.name.{listener.lower()}.plain.sasl.jaas.config": f'{module} required user_{USER}="{password}";'}


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
                **password_of(name, PASSWORD),
                f"{prefix}scram-sha-512.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                ),
            }
    return properties
