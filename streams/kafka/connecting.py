"""aiokafka's client, that never asks in a way that creates topics, and knows why a broker does not let it in.

Its consumer, its producer and its admin client each make a client in their constructor and hand it on to parts of
theirs. So it is not replaced but changed in place: see :func:`adopt`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError
from aiokafka.protocol.metadata import MetadataRequest

from streams.failure.errors import BrokerRefuses
from streams.failure.open_files import met_shortage
from streams.kafka.connection import close_connection, open_connection
from streams.kafka.credentials import tls_context
from streams.kafka.refusals import Failure, explain
from streams.settings import KafkaSettings

logger = logging.getLogger(__name__)
# What is no news of ours is said as aiokafka would, and as often.
_client_logger = logging.getLogger("aiokafka")

# What connecting raises: ValueError for a host name that cannot be one, and for a signature that is not the broker's.
_FAILED: Final = (OSError, EOFError, KafkaError, asyncio.TimeoutError, ValueError, AssertionError)
# A broker that is started anew fails a connection or two. What fails for longer, and still does, is a trouble.
_LASTING_SECONDS: Final = 5.0
_STILL_SECONDS: Final = 10.0


# -- what fails -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Standing:
    failure: Failure
    since: float
    last: float


class Troubles:
    """Which brokers do not let this process in, whichever of its clients has tried, and why.

    Arguments:
        clock: seconds, from anywhere.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._standing: dict[str, _Standing] = {}

    def failed(self, at: str, failure: Failure) -> None:
        """Take note, and say it if it is news."""
        now, known = self._clock(), self._standing.get(at)
        if known is not None and known.failure == failure:
            known.last = now
            return
        self._standing[at] = _Standing(failure, now, now)
        # The text is the message and no argument: each is held back by itself if it comes again and again.
        logger.error(failure.text)

    def passed(self, at: str) -> None:
        """A connection has been made."""
        known = self._standing.pop(at, None)
        if known is not None:
            logger.warning("that has passed: " + known.failure.text)

    def lasting(self) -> str:
        """Say what has failed for some time and still does; empty if nothing has.

        What no client has tried again is in nobody's way.
        """
        now = self._clock()
        return "; ".join(
            each.failure.text
            for each in self._standing.values()
            if now - each.since >= _LASTING_SECONDS and now - each.last <= _STILL_SECONDS
        )


troubles: Final = Troubles()
"""This process's."""


# -- the client -------------------------------------------------------------------------------------


class Client(AIOKafkaClient):  # type: ignore[misc]
    """Made by :func:`adopt`."""

    kafka: KafkaSettings
    failures: dict[int, Failure]
    """Why a broker cannot be reached, by its id."""
    _sync_task: asyncio.Task[None] | None

    async def bootstrap(self) -> None:
        """Connect to one of the addresses of the settings, and learn of all brokers.

        Raises:
            BrokerRefuses: none of them lets us in, and one says why.
            KafkaConnectionError: none answers.
        """
        failures = []
        for host, port, _ in self.hosts:
            try:
                connection = await self._open(host, port)
                metadata = await _answer(connection, MetadataRequest([], False))
            except _FAILED as error:
                failures.append(await self._failed(error, host, port))
                continue
            self.cluster.update_metadata(metadata)
            if self.cluster.brokers():
                await close_connection(connection)
            else:  # a cluster that has just come up may name none yet
                self._conns["bootstrap", ConnectionGroup.DEFAULT] = connection
            if self._sync_task is None:
                self._sync_task = asyncio.create_task(self._md_synchronizer())
            return
        raise _nobody(failures)

    async def _get_conn(
        self, node_id: Any, *, group: ConnectionGroup = ConnectionGroup.DEFAULT, no_hint: bool = False
    ) -> AIOKafkaConnection | None:
        key = (node_id, group)
        known = self._conns.get(key)
        if known is not None:
            if known.connected():
                return known
            del self._conns[key]
        broker = self.cluster.broker_metadata(node_id)
        if broker is None:
            _client_logger.error("broker %s is not known any more", node_id)
            self.force_metadata_update()
            return None
        async with self._get_conn_lock:
            if key in self._conns:
                return self._conns[key]
            try:
                self._conns[key] = await self._open(broker.host, broker.port, self._on_connection_closed)
            except _FAILED as error:
                self.failures[node_id] = await self._failed(error, broker.host, broker.port, node_id)
                self.force_metadata_update()
                return None
        self.failures.pop(node_id, None)
        return self._conns[key]

    async def _open(
        self, host: str, port: int, on_close: Callable[[AIOKafkaConnection, CloseReason], None] | None = None
    ) -> AIOKafkaConnection:
        connection = await open_connection(
            host,
            port,
            client_id=self._client_id,
            request_timeout_ms=self._request_timeout_ms,
            ssl_context=tls_context(self.kafka) if self._security_protocol.endswith("SSL") else None,
            security_protocol=self._security_protocol,
            max_idle_ms=self._connections_max_idle_ms,
            on_close=on_close,
            sasl_mechanism=self._sasl_mechanism,
            sasl_plain_username=self._sasl_plain_username,
            sasl_plain_password=self._sasl_plain_password,
        )
        if not self._security_protocol.startswith("SASL"):
            # A port that asks for a password answers the first question, and breaks off at the next.
            await _answer(connection, MetadataRequest([], False))
        troubles.passed(f"{host}:{port}")
        return connection

    async def _failed(self, error: BaseException, host: str, port: int, node: int | None = None) -> Failure:
        met_shortage(error)  # kept in mind for whoever waits for this in vain
        failure = await explain(error, self.kafka, host, port, node)
        if failure.refused or failure.misadvertised:
            if _client_logger.isEnabledFor(logging.ERROR):  # not where a command says it
                troubles.failed(f"{host}:{port}", failure)
        else:
            _client_logger.error("unable to connect: %s", failure.text)
        return failure

    # -- asking without creating -----------------------------------------------------------------

    async def _metadata_update(self, cluster_metadata: ClusterMetadata, topics: Iterable[str] | None) -> bool:
        """Ask for these topics, or all; by their names without having those created that are not there."""
        request = MetadataRequest(list(topics) if topics else None, False)
        nodes: list[Any] = [broker.nodeId for broker in self.cluster.brokers()]
        random.shuffle(nodes)
        bootstrap = ("bootstrap", ConnectionGroup.DEFAULT)
        if bootstrap in self._conns:
            nodes.append("bootstrap")
        for node in nodes:
            connection = await self._get_conn(node)
            if connection is None:
                continue
            try:
                metadata = await connection.send(request)
            except (KafkaError, asyncio.TimeoutError) as error:
                _client_logger.warning("broker %s does not say which topics there are: %r", node, error)
                continue
            if not metadata.brokers:
                return False
            cluster_metadata.update_metadata(metadata)
            if bootstrap in self._conns and self.cluster.brokers():
                self._conns.pop(bootstrap).close()
            return True
        _client_logger.error("no broker says which topics there are, of %s", nodes)
        cluster_metadata.failed_update(None)
        return False

    # -- saying why ------------------------------------------------------------------------------

    async def fetch_all_metadata(self) -> ClusterMetadata:
        """Ask for all topics.

        Raises:
            KafkaError: no broker says; with the reason, if it is known.
        """
        found = ClusterMetadata(metadata_max_age_ms=self._metadata_max_age_ms)
        if not await self._metadata_update(found, None):
            raise KafkaConnectionError(self.why() or "no broker says which topics there are")
        return found

    def get_random_node(self) -> int | None:
        """Choose a broker; one that could not be reached only if there is no other."""
        nodes = [broker.nodeId for broker in self.cluster.brokers()]
        good = [node for node in nodes if node not in self.failures]
        return random.choice(good or nodes) if nodes else None

    async def send(self, node_id: int, request: Any, *, group: ConnectionGroup = ConnectionGroup.DEFAULT) -> Any:
        """Send a request to a broker, and return its answer.

        Raises:
            NodeNotReadyError: it could not be reached, and why.
        """
        if isinstance(request, MetadataRequest):  # aiokafka's admin client asks by names, too
            request._allow_auto_topic_creation = False
        try:
            return await super().send(node_id, request, group=group)
        except NodeNotReadyError as error:
            failure = self.failures.get(node_id)
            raise (NodeNotReadyError(failure.text) if failure is not None else error) from None

    def why(self) -> str:
        """Say why brokers could not be reached; empty if they could."""
        return "; ".join(failure.text for failure in self.failures.values())


def adopt(client: AIOKafkaClient, kafka: KafkaSettings) -> Client:
    """Make a client of aiokafka's one of ours, before it is used."""
    client.__class__ = Client
    ours = cast("Client", client)
    ours.kafka, ours.failures = kafka, {}
    return ours


async def _answer(connection: AIOKafkaConnection, request: MetadataRequest) -> Any:
    """Ask the first thing of a connection; it is closed if there is no answer."""
    try:
        return await connection.send(request)
    except BaseException:
        await close_connection(connection)
        raise


def _nobody(failures: list[Failure]) -> Exception:
    text = "; ".join(dict.fromkeys(failure.text for failure in failures))
    return BrokerRefuses(text) if any(failure.refused for failure in failures) else KafkaConnectionError(text)
