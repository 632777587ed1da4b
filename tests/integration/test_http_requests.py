"""What webhooks and platform records look like to a server, and how long it may ask us to wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web
from support.receiver import receiver
from support.requests import REQUEST

from streams.failure.errors import DependencyUnavailable, TransientError
from streams.http_requests import USER_AGENT, header_id
from streams.notification_settings import NotificationSettings
from streams.notify.webhook import WebhookSender, sign
from streams.platform_api import PlatformApi
from streams.platform_settings import PlatformSettings, Sink

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@asynccontextmanager
async def answering(status: int, **headers: str) -> AsyncIterator[tuple[str, list[dict[str, str]]]]:
    """Run a server that always answers alike; yield its URL and the headers that it has been sent."""
    seen: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(status=status, headers={name.replace("_", "-"): text for name, text in headers.items()})

    application = web.Application()
    application.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://localhost:{runner.addresses[0][1]}/", seen
    finally:
        await runner.cleanup()


@asynccontextmanager
async def webhooks() -> AsyncIterator[WebhookSender]:
    made = WebhookSender(NotificationSettings(webhook_private=True, webhook_timeout=5))
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def platform(url: str) -> AsyncIterator[PlatformApi]:
    made = PlatformApi(PlatformSettings(sink=Sink.HTTP, api_url=url))
    try:
        yield made
    finally:
        await made.close()


async def test_what_a_host_sets_for_one_customer_is_not_shown_for_another() -> None:
    async with answering(200, Set_Cookie="tenant=a; Path=/") as (url, seen), webhooks() as sender:
        await sender.send(url + "tenant-a", SECRET, REQUEST)
        await sender.send(url + "tenant-b", SECRET, REQUEST)
    assert len(seen) == 2
    assert not any("cookie" in headers for headers in seen)


async def test_requests_say_who_sends_them() -> None:
    async with receiver() as hook, webhooks() as sender, platform(hook.url) as api:
        await sender.send(hook.url, SECRET, REQUEST)
        await api.post("key", b"{}")
    assert [post.headers["user-agent"] for post in hook.posts] == [USER_AGENT] * 2
    assert USER_AGENT.startswith("paystream/")


@pytest.mark.parametrize("name", ["pay.1:notification", " pay-1", "결제-1:notification"])
async def test_an_id_that_receivers_would_read_differently_is_a_hash_and_the_signature_covers_that(name: str) -> None:
    async with receiver() as hook, webhooks() as sender, platform(hook.url) as api:
        await sender.send(hook.url, SECRET, replace(REQUEST, request_id=name))
        await api.post(name, b"{}")
    told, posted = hook.posts
    assert told.headers["webhook-id"] == posted.headers["idempotency-key"] == header_id(name) != name
    timestamp = int(told.headers["webhook-timestamp"])
    assert told.headers["webhook-signature"] == sign(SECRET, header_id(name), timestamp, told.body)


@pytest.mark.parametrize(("status", "asked", "after"), [(429, "7", 7), (503, "7", 7), (503, "3600", 30), (429, "", 0)])
async def test_a_webhooks_server_may_ask_for_time_but_not_for_as_much_as_it_likes(
    status: int, asked: str, after: float
) -> None:
    async with answering(status, Retry_After=asked) as (url, _), webhooks() as sender:
        with pytest.raises(TransientError) as raised:
            await sender.send(url, SECRET, REQUEST)
    assert raised.value.after == after


@pytest.mark.parametrize("status", [429, 503])
async def test_the_platforms_api_may_ask_for_time(status: int) -> None:
    async with answering(status, Retry_After="7") as (url, _), platform(url) as api:
        with pytest.raises(DependencyUnavailable) as raised:
            await api.post("key", b"{}")
    assert raised.value.after == 7
