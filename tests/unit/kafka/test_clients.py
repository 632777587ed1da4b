from __future__ import annotations

import asyncio
import re
import time

import pytest

from streams.failure.errors import BrokerUnreachable
from streams.kafka.clients import connect
from streams.sandbox.process import free_ports
from streams.settings import KafkaSettings


async def test_where_nobody_listens_no_time_is_named_that_was_not_taken() -> None:
    (port,) = free_ports(1)
    with pytest.raises(BrokerUnreachable) as raised:
        await connect(KafkaSettings(bootstrap_servers=f"127.0.0.1:{port}"), seconds=1000)
    assert f"no Kafka broker answers at 127.0.0.1:{port} (PLAINTEXT" in str(raised.value)
    assert "1000 s" not in str(raised.value)


async def test_of_somebody_who_listens_and_never_answers_it_is_said_how_long_that_was_tried() -> None:
    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(keep_silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        began = time.monotonic()
        with pytest.raises(BrokerUnreachable) as raised:
            await connect(KafkaSettings(bootstrap_servers=f"127.0.0.1:{port}"), seconds=0.5)
        took = time.monotonic() - began
    found = re.search(r"\(PLAINTEXT, tried for ([0-9.]+) s\)", str(raised.value))
    assert found is not None
    assert 0.4 < float(found[1]) < took + 0.1
