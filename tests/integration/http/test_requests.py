"""What webhooks and platform records look like to a server, and how long it may ask us to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web
from support.certificate import Certificate
from support.receiver import receiver, serving
from support.requests import REQUEST

from streams.failure.errors import DependencyUnavailable, TransientError
from streams.http.requests import USER_AGENT, header_id
from streams.notify.webhook import WebhookDown, WebhookSender, sign
from streams.platform.api import PlatformApi
from streams.sandbox.process import free_ports
from streams.settings import NotificationSettings, PlatformSettings, Sink

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@asynccontextmanager
async def answering(status: int, **headers: str) -> AsyncIterator[tuple[str, list[dict[str, str]]]]:
    """Run a server that always answers alike; yield its URL and the headers that it has been sent."""
    seen: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(status=status, headers={name.replace("_", "-"): text for name, text in headers.items()})

    async with serving(answer, "/{path:.*}") as port:
        yield f"http://localhost:{port}/", seen


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


@pytest.mark.parametrize("name", ["pay.1:order-notification", " pay-1", "결제-1:order-notification"])
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


@pytest.mark.parametrize(
    "target",
    [
        "/", "/orders", "/a%2Fb/%7Ec", "/a[b]", "/in?code=a%2Fb%3D%3D&sig=x%2By+z", "/?next=%2Fa%3Ab", "/a//b/%2e%2e/c",
        "/100%25", "/%ea%b2%b0", "/a;b=c,d", "/?", "/(x)*'!$",
    ],
)  # fmt: skip
async def test_path_and_query_of_a_url_are_asked_for_as_they_are_written(target: str) -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        return web.Response()

    async with serving(answer, "/{path:.*}") as port, webhooks() as sender:
        url = f"http://localhost:{port}{target}"
        async with platform(url) as api:
            await api.post("key", b"{}")
        await sender.send(url, SECRET, REQUEST)
    wanted = {"/?": "/", "/a[b]": "/a%5Bb%5D"}.get(target, target)  # nothing is asked; what must be escaped
    assert asked == [wanted, wanted]


def test_a_url_of_the_api_whose_end_would_not_be_sent_is_refused() -> None:
    with pytest.raises(ValueError, match="%23"):
        PlatformSettings(sink=Sink.HTTP, api_url="https://platform.example/orders?key=secret#1")


# -- connections -------------------------------------------------------------------------------------


@asynccontextmanager
async def talking(body: bytes, pause: float) -> AsyncIterator[tuple[str, list[object]]]:
    """Run a server whose answers have a body that comes late; yield its URL and the connections it has had."""
    connections: list[object] = []
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.transport not in connections:
            connections.append(request.transport)
        response = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        await asyncio.wait({asyncio.ensure_future(over.wait())}, timeout=pause)
        if not over.is_set():
            await response.write(body)
        return response

    async with serving(answer) as port:
        try:
            yield f"http://127.0.0.1:{port}/", connections
        finally:
            over.set()


@pytest.mark.parametrize("size", [2, 40_000])
async def test_an_answer_is_read_to_its_end_so_that_the_connection_is_kept(size: int) -> None:
    async with talking(b"x" * size, 0.01) as (url, connections), webhooks() as sender, platform(url) as api:
        for number in range(5):
            await api.post(f"key-{number}", b"{}")
            await sender.send(url, SECRET, REQUEST)
    assert len(connections) == 2, "one for each of the two"


async def test_an_answer_that_is_very_long_is_not() -> None:
    async with talking(b"x" * 10_000_000, 0.0) as (url, _), platform(url) as api:
        await api.post("key", b"{}")


async def test_an_answer_whose_end_does_not_come_has_been_given_all_the_same() -> None:
    async with talking(b"x", 60.0) as (url, _), webhooks() as sender, platform(url) as api:
        await asyncio.wait_for(asyncio.gather(api.post("key", b"{}"), sender.send(url, SECRET, REQUEST)), 20)


async def test_a_certificate_that_is_not_valid_is_the_servers_trouble_and_no_message_is_given_up(
    certificate: Certificate,
) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=certificate.context())
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, webhooks() as sender, platform(url) as api:
        with pytest.raises(WebhookDown, match="does not answer: its certificate is not valid here"):
            await sender.send(url, SECRET, REQUEST)
        with pytest.raises(DependencyUnavailable, match=r"127\.0\.0\.1: its certificate is not valid here"):
            await api.post("key", b"{}")


@pytest.mark.parametrize(
    ("url", "why"), [("http://127.0.0.1:{}/", "connection refused"), ("http://nowhere.invalid:{}/", "no such host")]
)
async def test_where_nobody_answers_the_reason_says_why_and_nothing_of_the_url(url: str, why: str) -> None:
    (port,) = free_ports(1)
    async with platform(url.format(port) + "?key=secret") as api:
        with pytest.raises(DependencyUnavailable, match=why) as raised:
            await api.post("key", b"{}")
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None
