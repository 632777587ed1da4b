"""Latency under light load: from the moment a payment is appended until its committed output is read."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.load import payment


@dataclass(frozen=True, slots=True)
class Latency:
    """In milliseconds."""

    median: float
    p95: float
    worst: float


async def measure(bootstrap: str, topic: str, output: str, *, payments: int = 200, pause: float = 0.05) -> Latency:
    """Publish one payment after another and time each until a read_committed reader has its output."""
    consumer = AIOKafkaConsumer(
        output, bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="latest"
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    await consumer.start()
    await producer.start()
    await consumer.seek_to_end()
    taken: list[float] = []
    try:
        for number in range(payments + 20):
            key, value, headers = payment(10_000_000 + number)
            await producer.send_and_wait(topic, value, key=key, headers=headers)
            appended = time.perf_counter()
            while (await asyncio.wait_for(consumer.getone(), 30)).key != key:
                pass
            if number >= 20:  # the first ones pay for connections and metadata
                taken.append((time.perf_counter() - appended) * 1000)
            await asyncio.sleep(pause)
    finally:
        await producer.stop()
        await consumer.stop()
    return Latency(statistics.median(taken), statistics.quantiles(taken, n=20)[-1], max(taken))
