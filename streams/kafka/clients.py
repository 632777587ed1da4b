"""Making Kafka clients, and closing them when they no longer answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from streams.failure.errors import BrokerUnreachable, SetupError
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


@contextlib.contextmanager
def silent_clients() -> Iterator[None]:
    """Keep aiokafka from logging for as long as the block lasts: a command says in one line what failed."""
    logger = logging.getLogger("aiokafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


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
        options["ssl_context"] = _tls(kafka)
    return options


def _tls(kafka: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=kafka.ssl_cafile)
        if kafka.ssl_certfile is not None:
            context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile)
    except OSError as error:  # ssl.SSLError is one
        raise SetupError(
            f"PAYSTREAM_KAFKA__SSL_CAFILE, __SSL_CERTFILE or __SSL_KEYFILE cannot be used: {error}"
        ) from error
    return context


def make_consumer(kafka: KafkaSettings, group: str, max_partition_bytes: int) -> AIOKafkaConsumer:
    """Make the consumer of one agent; it commits nothing by itself and sees only committed records."""
    return AIOKafkaConsumer(
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
    )


def make_producer(kafka: KafkaSettings, *, transactional_id: str | None = None) -> AIOKafkaProducer:
    """Make a producer that never writes a record twice: idempotent, or transactional if given an id."""
    return AIOKafkaProducer(
        **client_options(kafka),
        transactional_id=transactional_id,
        transaction_timeout_ms=int(kafka.transaction_timeout * 1000),
        enable_idempotence=True,
        acks="all",
        compression_type=None if kafka.compression == "none" else kafka.compression,
        max_batch_size=PRODUCER_BATCH_BYTES,
        request_timeout_ms=int(kafka.producer_request_timeout * 1000),
    )


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


async def connect(kafka: KafkaSettings, *, seconds: float = 10.0) -> AIOKafkaClient:
    """Return a connected plain client, for commands and for checks at start-up. The caller closes it.

    Raises:
        BrokerUnreachable: nothing answered within `seconds`.
    """
    client = AIOKafkaClient(**client_options(kafka), request_timeout_ms=int(seconds * 1000))
    began = time.monotonic()
    try:
        with silent_clients():
            await asyncio.wait_for(client.bootstrap(), seconds)
    except (KafkaError, OSError, asyncio.TimeoutError) as error:
        tried = time.monotonic() - began
        await client.close()
        # Where nobody listens, that is known at once.
        how_long = f", tried for {tried:.1f} s" if tried >= _WORTH_TELLING else ""
        raise BrokerUnreachable(
            f"no Kafka broker answers at {kafka.bootstrap_servers} ({kafka.security_protocol}{how_long}): "
            "set PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS, or start one with 'paystream sandbox'"
        ) from error
    return client
