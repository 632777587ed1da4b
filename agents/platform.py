"""Brings orders to the data platform: into Parquet files, or by HTTP to its API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from models.platform import ADAPTER
from streams.app import app
from streams.delivery import Batch, Outbox, Record
from streams.delivery.guarantee import Finishing
from streams.failure.errors import SetupError, how_to_install
from streams.platform.api import PlatformApi
from streams.settings import PlatformSettings, Sink
from streams.topics import PLATFORM_ORDERS

Handler = Callable[[Record, Outbox], "Awaitable[None] | None"]


class OverHttp:
    """Posts records to the platform's API, as they are."""

    def __init__(self, api: PlatformApi) -> None:
        self._api = api

    async def __call__(self, record: Record, out: Outbox) -> None:
        """Post one."""
        order = record.parse_as(ADAPTER)
        assert record.value is not None, "or it would not have been read"
        await self._api.post(order.record_id, record.value)


def _over_http(settings: PlatformSettings) -> tuple[Handler, Finishing]:
    if app.settings.failure.handler_timeout <= settings.api_timeout:
        # A handler that is cut off counts as the record's failure; an API that does not answer is none.
        app.unable(SetupError("PAYSTREAM_FAILURE__HANDLER_TIMEOUT must be longer than PAYSTREAM_PLATFORM__API_TIMEOUT"))
    api = PlatformApi(settings)
    app.closing(api.close)
    return OverHttp(api), app.emits_nothing()


def _into_files(settings: PlatformSettings) -> tuple[Handler, Finishing | None]:
    try:
        from streams.platform.folder import Folder
        from streams.platform.in_files import InFiles
        from streams.platform.rows import PlatformRow

        finishing = InFiles(Folder(settings.folder), settings)
    except ImportError as error:
        return _unable(
            SetupError(
                f"agents.platform needs {error.name}: {how_to_install('parquet')}, or set "
                "PAYSTREAM_PLATFORM__SINK=http, or leave agents.platform out of PAYSTREAM_AGENTS"
            )
        )
    except SetupError as error:
        return _unable(error)

    def into_files(record: Record, out: Outbox) -> None:
        out.effect(PlatformRow(record.parse_as(ADAPTER), record.topic, record.partition, record.offset))

    return into_files, finishing


def _unable(error: SetupError) -> tuple[Handler, None]:
    app.unable(error)

    def never(record: Record, out: Outbox) -> None:
        raise error

    return never, None


_arrange = _into_files if app.settings.platform.sink is Sink.FILES else _over_http
handler, finish = _arrange(app.settings.platform)


@app.agent(app.batches(PLATFORM_ORDERS, finish=finish), concurrency=app.settings.delivery.concurrency)
async def platform(stream: Any) -> AsyncIterator[Batch]:
    """Bring each platform record to the data platform."""
    async for batch in stream:
        yield await batch.handle(handler)
