"""Webhooks, signed as the Standard Webhooks specification says (standardwebhooks.com)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
import socket
import time
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from models.notification import ADAPTER, NotificationRequest
from streams.failure.errors import DependencyUnavailable, PermanentError, TransientError
from streams.http_answers import judge_answer
from streams.notification_settings import NotificationSettings

SECRET_PREFIX: Final = "whsec_"
"""Of a secret's text; what follows is base64."""


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Sign a message: HMAC-SHA256 over id, timestamp and body, with its version in front.

    Raises:
        ValueError: the secret is not base64.
    """
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def host_of(url: str) -> str:
    """Return the host of a URL, which is what an operator is told of it: the rest may hold secrets."""
    return urlsplit(url).hostname or "unknown"


class _PublicOnly(AbstractResolver):
    """Resolves names, and passes over addresses that are not public: a customer's URL must not reach our own."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        public = [each for each in found if ipaddress.ip_address(each["host"]).is_global]
        if not public:
            raise PermanentError("the webhook's host has no public address")
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
        self._session: aiohttp.ClientSession | None = None

    async def send(self, url: str, secret: str, request: NotificationRequest) -> None:
        """Post a request to a customer's URL.

        Raises:
            PermanentError: the URL may not be called, or its server refuses the message: 3xx and 4xx.
            TransientError: the server asks for another attempt (408, 425, 429), is in trouble (5xx), or does not
                answer. It is one customer's: all others must not wait for it, as they would for a dependency.
        """
        self._refuse_private(url)
        body = json.dumps(
            {"type": request.template, "data": json.loads(ADAPTER.dump_json(request, by_alias=True))},
            ensure_ascii=False, separators=(",", ":"),
        ).encode()  # fmt: skip
        now = int(time.time())
        try:
            signature = sign(secret, request.request_id, now, body)
        except ValueError:
            raise PermanentError("the customer's webhook secret is not base64") from None
        headers = {
            "Content-Type": "application/json",
            "webhook-id": request.request_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature,
        }
        who = f"webhook {host_of(url)}"
        try:
            async with self._open().post(url, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except (aiohttp.InvalidURL, UnicodeError, ValueError):
            raise PermanentError("the customer's webhook has no valid URL") from None
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise TransientError(f"{who} does not answer: {type(error).__name__}") from None
        try:
            judge_answer(status, who)
        except DependencyUnavailable as error:
            raise TransientError(str(error)) from None

    def _refuse_private(self, url: str) -> None:
        if self._settings.webhook_private:
            return
        if not url.startswith("https://"):
            raise PermanentError("the customer's webhook is not an https:// URL")
        try:
            public = ipaddress.ip_address(host_of(url)).is_global
        except ValueError:
            return  # a name, which the resolver judges
        if not public:
            raise PermanentError("the customer's webhook is at a private address")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            options: dict[str, Any] = {} if self._settings.webhook_private else {"resolver": _PublicOnly()}
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(**options),
                timeout=aiohttp.ClientTimeout(self._settings.webhook_timeout),
            )
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
