from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from support.requests import REQUEST

from streams.failure.errors import DependencyUnavailable, PermanentError, TransientError
from streams.http_answers import judge_answer
from streams.notification_settings import NotificationSettings
from streams.notify.host_limits import HostLimits
from streams.notify.webhook import WebhookSender, host_of, sign

# From the reference libraries of Standard Webhooks (libraries/python/tests): secret, id, body and time of their test.
_SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_ID, _TIME, _BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("prefix", ["", "whsec_"])
def test_a_signature_is_the_one_that_others_would_make(prefix: str) -> None:
    assert sign(prefix + _SECRET, _ID, _TIME, _BODY) == _SIGNATURE


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (408, TransientError), (425, TransientError), (429, TransientError), (500, DependencyUnavailable),
        (503, DependencyUnavailable), (400, PermanentError), (404, PermanentError), (410, PermanentError),
        (302, PermanentError),
    ],
)  # fmt: skip
def test_what_a_server_answers_decides_what_happens_next(status: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        judge_answer(status, "shop.example")


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_success_is_one(status: int) -> None:
    judge_answer(status, "shop.example")


@pytest.mark.parametrize(
    "url",
    [
        "http://customer.example/hook", "https://127.0.0.1/hook", "https://10.0.0.8/", "https://[::1]/",
        "https://169.254.169.254/latest/meta-data", "https://localhost/hook", "ftp://customer.example/",
    ],
)  # fmt: skip
async def test_a_customers_url_cannot_reach_what_is_ours(url: str) -> None:
    sender = WebhookSender(NotificationSettings())
    with pytest.raises(PermanentError) as raised:
        await sender.send(url, _SECRET, replace(REQUEST))
    assert "hook" not in str(raised.value).replace("webhook", ""), "a URL may hold secrets"
    await sender.close()


def test_only_the_host_of_a_url_is_ever_named() -> None:
    assert host_of("https://user:secret@customer.example:8443/hook?key=secret") == "customer.example"
    assert host_of("nonsense") == "unknown"


async def test_a_host_is_given_no_more_than_it_may_have_and_another_does_not_wait() -> None:
    limits, at_once, most = HostLimits(1_000, 2), 0, 0

    async def one(host: str) -> None:
        nonlocal at_once, most
        async with limits.turn(host):
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.002)
            at_once -= 1

    await asyncio.gather(*(one("slow") for _ in range(10)))
    assert most == 2
    waiting = [asyncio.create_task(one("slow")) for _ in range(50)]
    await asyncio.wait_for(one("other"), 1)
    assert not all(each.done() for each in waiting)
    await asyncio.gather(*waiting)


async def test_messages_to_one_host_are_kept_apart() -> None:
    limits, clock = HostLimits(100, 8), asyncio.get_running_loop().time
    begins = []

    async def one() -> None:
        async with limits.turn("host"):
            begins.append(clock())

    await asyncio.gather(*(one() for _ in range(6)))
    assert begins[-1] - begins[0] >= 0.049
