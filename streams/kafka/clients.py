"""Making Kafka clients, and closing them when they no longer answer."""

from __future__ import annotations

import asyncio
import random
import time
from itertools import chain
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from streams.failure.errors import BrokerMisconfigured, BrokerRefuses, BrokerUnreachable
from streams.failure.open_files import shortage
from streams.kafka.client_log import silent_clients
from streams.kafka.connecting import Client, adopt
from streams.kafka.credentials import tls_context
from streams.settings import KafkaSettings

# Below the 1,048,588 bytes that a topic accepts by default, so that a batch never exceeds it.
PRODUCER_BATCH_BYTES: Final = 1_000_000
# "Nothing was fetched for this long" must never take a worker's partitions away: lanes that all back off
# look idle to aiokafka. The largest 32-bit number of milliseconds; lanes are watched by their own means.
NEVER_IDLE_MS: Final = 2_147_483_647
# How late a partition that was added, or a topic that was made anew, is noticed; 5 minutes by default are an outage.
_METADATA_MS: Final = 30_000
# What takes less, a user calls at once.
_WORTH_TELLING: Final = 0.1
# How long close_hard waits for sockets to close.
_CLOSE_SECONDS: Final = 1.0


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the keyword arguments that every aiokafka client needs: where, and who we are.

    Raises:
        SetupError: a certificate or key cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers,
        "client_id": kafka.client_id,
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.startswith("SASL"):
        assert kafka.sasl_password is not None, "checked by the settings"
        options["sasl_mechanism"] = kafka.sasl_mechanism
        options["sasl_plain_username"] = kafka.sasl_username
        options["sasl_plain_password"] = kafka.sasl_password.get_secret_value()
    if kafka.security_protocol.endswith("SSL"):
        options["ssl_context"] = tls_context(kafka)
    return options


def make_consumer(kafka: KafkaSettings, group: str, max_partition_bytes: int) -> AIOKafkaConsumer:
    """Make the consumer of one agent; it commits nothing by itself and sees only committed records."""
    return _ours(
        kafka,
        AIOKafkaConsumer(
            **client_options(kafka),
            group_id=group,
            group_instance_id=f"{kafka.instance_id}.{group}" if kafka.instance_id else None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            # A lane always seeks before it reads; this only keeps aiokafka from raising before that.
            auto_offset_reset="earliest",
            session_timeout_ms=int(kafka.session_timeout * 1000),
            # A member hears of a rebalance by its heartbeat, so this is also how long it takes to begin.
            heartbeat_interval_ms=int(min(kafka.session_timeout / 4, 2.0) * 1000),
            rebalance_timeout_ms=int(kafka.rebalance_timeout * 1000),
            request_timeout_ms=int(kafka.consumer_request_timeout * 1000),
            max_poll_interval_ms=NEVER_IDLE_MS,
            fetch_max_wait_ms=int(kafka.fetch_max_wait * 1000),
            metadata_max_age_ms=_METADATA_MS,
            max_partition_fetch_bytes=max_partition_bytes,
        ),
    )


def make_reader(kafka: KafkaSettings, **options: Any) -> AIOKafkaConsumer:
    """Make a consumer without a group, which commits nothing and sees only committed records."""
    return _ours(
        kafka,
        AIOKafkaConsumer(
            **client_options(kafka),
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            **options,
        ),
    )


def make_admin(kafka: KafkaSettings) -> AIOKafkaAdminClient:
    """Make what creates and describes topics."""
    admin = AIOKafkaAdminClient(**client_options(kafka))
    adopt(admin._client, kafka)
    return admin


def _ours(kafka: KafkaSettings, consumer: AIOKafkaConsumer) -> AIOKafkaConsumer:
    adopt(consumer._client, kafka)
    return consumer


def make_producer(kafka: KafkaSettings, *, transactional_id: str | None = None) -> AIOKafkaProducer:
    """Make a producer that never writes a record twice: idempotent, or transactional if given an id."""
    producer = AIOKafkaProducer(
        **client_options(kafka),
        transactional_id=transactional_id,
        transaction_timeout_ms=int(kafka.transaction_timeout * 1000),
        enable_idempotence=True,
        acks="all",
        compression_type=None if kafka.compression == "none" else kafka.compression,
        max_batch_size=PRODUCER_BATCH_BYTES,
        request_timeout_ms=int(kafka.producer_request_timeout * 1000),
    )
    adopt(producer.client, kafka)
    return producer


async def close_hard(producer: AIOKafkaProducer) -> None:
    """Close a producer without flushing: what it had not sent must not be sent any more.

    ``producer.stop()`` would flush, and so wait for a broker that may be dead.
    """
    producer._closed = True
    sender = producer._sender.sender_task
    if sender is not None:
        sender.cancel()
    closing = asyncio.ensure_future(producer.client.close())
    await asyncio.wait({closing}, timeout=_CLOSE_SECONDS)
    closing.cancel()
    heed_failures(producer)


def heed_failures(producer: AIOKafkaProducer) -> None:
    """Take note of failures that a producer keeps and nobody awaits any more.

    aiokafka tells one failure to many futures: of the transaction, of every batch and of its way out. asyncio would
    report each that was not looked at, with a traceback, whenever the garbage is collected.
    """
    accumulator = producer._message_accumulator
    batches = [*chain.from_iterable(accumulator._batches.values()), *accumulator._pending_batches]
    futures = [future for batch in batches for future in (batch.future, batch._drain_waiter)]
    if producer._txn_manager is not None:
        futures.append(producer._txn_manager.wait_for_transaction_end())  # None before the first
    for future in filter(None, futures):
        if future.done():
            _heed(future)
        else:
            future.add_done_callback(_heed)


def _heed(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


async def close_consumer(consumer: AIOKafkaConsumer) -> None:
    """Close a consumer whose brokers may have gone; never raises.

    aiokafka's own ``stop`` then raises the ``CancelledError`` of a task of its own, which would take the place
    of the error that is to be reported, and leaves its connections open.
    """
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait({stopping}, timeout=_CLOSE_SECONDS)
    stopping.cancel()
    if not stopping.done() or stopping.cancelled() or stopping.exception() is not None:
        closing = asyncio.ensure_future(consumer._client.close())
        await asyncio.wait({closing}, timeout=_CLOSE_SECONDS)
        closing.cancel()


async def connect(kafka: KafkaSettings, *, seconds: float = 10.0) -> Client:
    """Return a connected plain client, for commands and for checks at start-up. The caller closes it.

    Raises:
        BrokerUnreachable: nothing answered within `seconds`.
        BrokerRefuses: a broker answers, and does not let us in.
        BrokerMisconfigured: the brokers say that they are where nobody can be.
    """
    client = adopt(AIOKafkaClient(**client_options(kafka), request_timeout_ms=int(seconds * 1000)), kafka)
    began = time.monotonic()
    try:
        with silent_clients():
            await asyncio.wait_for(_reach(client), seconds)
    except (KafkaError, asyncio.TimeoutError) as error:
        await client.close()
        if short := shortage(error):
            raise BrokerUnreachable(f"no connection to {kafka.bootstrap_servers}: {short}") from error
        if brokers := client.cluster.brokers():
            said = ", ".join(f"broker {each.nodeId} at {each.host}:{each.port}" for each in brokers)
            raise BrokerUnreachable(
                f"a broker answers at {kafka.bootstrap_servers}, but none where they say that they are ({said}): they "
                "are away, or advertised.listeners in their configuration names addresses that cannot be reached from "
                f"here{f' ({error})' if str(error) else ''}"
            ) from error
        tried = time.monotonic() - began
        # Where nobody listens, that is known at once.
        how_long = f", tried for {tried:.1f} s" if tried >= _WORTH_TELLING else ""
        why = f", {error}" if str(error) else ""
        raise BrokerUnreachable(
            f"no Kafka broker answers at {kafka.bootstrap_servers} ({kafka.security_protocol}{how_long}{why}): "
            "set PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS, or start one with 'paystream sandbox'"
        ) from error
    except BaseException:
        await client.close()
        raise
    return client


async def _reach(client: Client) -> None:
    """Connect to an address of the settings, and to one of the brokers that it names, where they say they are."""
    await client.bootstrap()
    brokers = [broker.nodeId for broker in client.cluster.brokers()]
    for node in random.sample(brokers, len(brokers)):
        if await client.ready(node):
            return
    if any(failure.refused for failure in client.failures.values()):
        raise BrokerRefuses(client.why())
    if brokers and all(failure.misadvertised for failure in client.failures.values()):
        raise BrokerMisconfigured(client.why())
    if brokers:
        raise KafkaConnectionError(client.why())
