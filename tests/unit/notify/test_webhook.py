from __future__ import annotations

import asyncio
import base64
from dataclasses import replace

import pytest
from support.leaping import in_virtual_time
from support.requests import REQUEST

from streams.failure.errors import DependencyUnavailable, PermanentError, TransientError
from streams.http.answers import asked_to_wait, judge_answer
from streams.http.requests import header_id
from streams.notify.host_limits import HostLimits
from streams.notify.webhook import WebhookSender, sign
from streams.settings import NotificationSettings

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
        "https://2130706433/hook", "https://[64:ff9b::7f00:1]/hook", "https://[bad/hook", "https://:443/hook",
    ],
)  # fmt: skip
async def test_a_customers_url_cannot_reach_what_is_ours(url: str) -> None:
    sender = WebhookSender(NotificationSettings())
    with pytest.raises(PermanentError) as raised:
        await sender.send(url, _SECRET, replace(REQUEST))
    assert "hook" not in str(raised.value).replace("webhook", ""), "a URL may hold secrets"
    await sender.close()


@pytest.mark.parametrize("size", [24, 64])
def test_a_secret_has_as_many_bytes_as_the_specification_says(size: int) -> None:
    assert sign(base64.b64encode(b"k" * size).decode(), _ID, _TIME, _BODY).startswith("v1,")


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_?", "whsec_" + "AAAA" * 7, base64.b64encode(b"k" * 65).decode()]
)
async def test_nothing_is_signed_with_another_secret(secret: str) -> None:
    sender = WebhookSender(NotificationSettings(webhook_private=True))
    with pytest.raises(PermanentError, match="secret"):
        await sender.send("http://127.0.0.1:1/", secret, REQUEST)
    await sender.close()


@pytest.mark.parametrize("name", ["pay-1:order-notification", "a_B-9:platform"])
def test_an_id_that_every_receiver_reads_alike_is_sent_as_it_is(name: str) -> None:
    assert header_id(name) == name


@pytest.mark.parametrize("name", ["", " pay-1", "pay-1 ", "pay.1", "결제-1", "pay\r\nX-Evil: 1", "p" * 256])
def test_any_other_id_is_sent_as_a_hash_of_its_own(name: str) -> None:
    sent = header_id(name)
    assert sent == header_id(name) != header_id(name + "x")
    assert len(sent) == 40
    assert sent.isascii()
    assert sent.isalnum()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0), (" 0 ", 0.0), (None, 0.0), ("", 0.0), ("-5", 0.0), ("1.5", 0.0), ("soon", 0.0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0), ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun, 06 Nov 1994 08:50:37 -0000", 60.0), ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
        ("Sun, 99 Nov 1994 08:49:37 GMT", 0.0), ("9" * 400, 0.0),
    ],
)  # fmt: skip
def test_a_server_says_in_seconds_or_by_a_date_when_it_wants_to_be_asked_again(
    header: str | None, seconds: float
) -> None:
    assert asked_to_wait(header, now=784_111_777) == seconds  # Sun, 06 Nov 1994 08:49:37 GMT, as in RFC 9110


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


@in_virtual_time
async def test_messages_to_one_host_are_kept_apart() -> None:
    limits, clock = HostLimits(100, 8), asyncio.get_running_loop().time
    begins = []

    async def one() -> None:
        async with limits.turn("host"):
            begins.append(clock())

    await asyncio.gather(*(one() for _ in range(6)))
    assert begins[-1] - begins[0] >= 0.049


@in_virtual_time
async def test_who_is_cancelled_while_waiting_takes_nobody_elses_time() -> None:
    limits, loop = HostLimits(10, 4), asyncio.get_running_loop()
    async with limits.turn("host"):
        pass
    began = loop.time()

    async def one() -> None:
        async with limits.turn("host"):
            pass

    waiting = [asyncio.create_task(one()) for _ in range(20)]
    await asyncio.sleep(0.02)
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await one()
    assert loop.time() - began < 0.2, "its turn is a tenth of a second after the one that was sent"


@in_virtual_time
async def test_with_less_time_than_the_line_is_long_as_many_are_sent_as_may_be() -> None:
    limits, clock, sent = HostLimits(20, 4), asyncio.get_running_loop().time, []
    ends = clock() + 1.0

    async def one() -> None:
        async with limits.turn("host"):
            sent.append(clock())

    async def insists() -> None:
        while clock() < ends:
            try:
                await asyncio.wait_for(one(), 0.15)
            except asyncio.TimeoutError:
                await asyncio.sleep(0.01)

    await asyncio.gather(*(insists() for _ in range(8)))
    assert len(sent) >= 12, "twenty may be"
    assert sent[-1] - sent[0] >= 0.05 * (len(sent) - 2), "and no more"


async def test_who_is_cancelled_while_sending_gives_its_slot_back() -> None:
    limits = HostLimits(1_000, 1)

    async def hang() -> None:
        async with limits.turn("host"):
            await asyncio.sleep(60)

    hanging, waiting = asyncio.create_task(hang()), asyncio.create_task(hang())
    await asyncio.sleep(0.02)
    for each in (waiting, hanging):
        each.cancel()
    await asyncio.gather(hanging, waiting, return_exceptions=True)

    async def one() -> None:
        async with limits.turn("host"):
            pass

    await asyncio.wait_for(one(), 1)


async def test_hosts_that_are_idle_are_forgotten_and_busy_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    limits, loop = HostLimits(1_000, 1), asyncio.get_running_loop()
    for number in range(100):
        async with limits.turn(f"host-{number}"):
            pass
    async with limits.turn("busy"):
        now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: now + 2)
        async with limits.turn("new"):
            assert sorted(limits.hosts) == ["busy", "new"]
