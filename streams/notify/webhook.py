"""Webhooks, signed as the Standard Webhooks specification says (standardwebhooks.com)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import time
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from models.notification import ADAPTER, NotificationRequest
from streams.failure.errors import DependencyUnavailable, PermanentError, TransientError
from streams.failure.open_files import shortage
from streams.http.answers import asked_to_wait, judge_answer
from streams.http.posting import Poster
from streams.http.requests import header_id, why_not
from streams.notify.webhook_url import UnfitUrl, host_of, is_public, parse_url
from streams.settings import NotificationSettings

SECRET_PREFIX: Final = "whsec_"
"""Of a secret's text; what follows is base64."""
# Source: the Standard Webhooks specification, "Signature scheme": between 24 bytes (192 bits) and 64 bytes (512 bits).
_SHORTEST_SECRET: Final = 24
_LONGEST_SECRET: Final = 64
# One customer's server: others' messages wait behind, and are not to wait for as long as it likes.
_LONGEST_HEEDED: Final = 30.0


# Source: the Standard Webhooks specification, "Deliverability and reliability": the endpoint is to be disabled.
_GONE: Final = 410


class WebhookDown(TransientError):
    """A webhook's server does not answer, is in trouble (5xx), or puts us off (408, 425, 429)."""


class WebhookGone(PermanentError):
    """A webhook's server says that there will never be anybody again (410): its customer's channel is to be off."""


class NeverAsked(PermanentError):
    """A webhook could not even be tried, for what is stored of the customer; it says nothing of the server."""


def key_of(secret: str) -> bytes:
    """Read a secret's text.

    Raises:
        ValueError: it is not base64 of 24 to 64 bytes.
    """
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    if not _SHORTEST_SECRET <= len(key) <= _LONGEST_SECRET:
        raise ValueError("a secret has 24 to 64 bytes")
    return key


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Sign a message: HMAC-SHA256 over id, timestamp and body, with its version in front.

    Raises:
        ValueError: the secret is not base64 of 24 to 64 bytes.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key_of(secret), signed, hashlib.sha256).digest()).decode()


class _PublicOnly(AbstractResolver):
    """Resolves names, and passes over addresses that are not public: a customer's URL must not reach our own."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        public = [each for each in found if is_public(each["host"])]
        if not public:
            raise NeverAsked("the webhook's host has no public address")
        return public

    async def close(self) -> None:
        await self._resolver.close()


class WebhookSender:
    """Posts webhooks, over connections that are kept.

    Arguments:
        settings: how long to wait, and where webhooks may go.
    """

    def __init__(self, settings: NotificationSettings) -> None:
        self._settings = settings
        resolver = None if settings.webhook_private else _PublicOnly
        # No cookies: customers may share a host, and what it sets for one of them is not to be shown for another.
        self._poster = Poster(settings.webhook_timeout, {}, resolver=resolver)

    async def send(self, url: str, secret: str, request: NotificationRequest) -> None:
        """Post a request to a customer's URL.

        Raises:
            NeverAsked: the URL may not be called, or nothing can be signed with the secret.
            WebhookGone: the server says so (410).
            PermanentError: the server refuses the message: 3xx and 4xx.
            WebhookDown: the server is in trouble (5xx), does not answer, or puts us off (408, 425, 429). It is one
                customer's: all others must not wait for it, as they would for a dependency.
        """
        target = self._target(url)
        body = json.dumps(
            {"type": request.template, "data": json.loads(ADAPTER.dump_json(request, by_alias=True))},
            ensure_ascii=False, separators=(",", ":"),
        ).encode()  # fmt: skip
        headers = _headers(secret, header_id(request.identity), int(time.time()), body)
        who = f"webhook {host_of(url)}"
        try:
            answer = await self._poster.post(target, body, headers)
        except aiohttp.InvalidURL:
            raise NeverAsked("the customer's webhook has no valid URL") from None
        # Before ValueError, which an error of a certificate is as well.
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            if short := shortage(error):
                raise DependencyUnavailable("open files", short) from None  # no customer's fault, nor any host's
            raise WebhookDown(f"{who} does not answer: {why_not(error)}") from None
        except ValueError:
            raise NeverAsked("the customer's webhook has no valid URL") from None
        if answer.status == _GONE:
            raise WebhookGone(f"{who} answered 410: it is gone for good")
        after = min(asked_to_wait(answer.retry_after, time.time()), _LONGEST_HEEDED)
        try:
            judge_answer(answer.status, who, after)
        except (DependencyUnavailable, TransientError) as error:
            raise WebhookDown(str(error), after=after) from None

    def _target(self, url: str) -> URL:
        try:
            return parse_url(url, private=self._settings.webhook_private)
        except UnfitUrl as unfit:
            raise NeverAsked(f"the customer's webhook is not {unfit}") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._poster.close()


def _headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    try:
        signature = sign(secret, message_id, timestamp, body)
    except ValueError:
        raise NeverAsked("the customer's webhook secret is not base64 of 24 to 64 bytes") from None
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature,
    }
