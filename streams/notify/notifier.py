"""Telling a customer, at least once and as good as once.

::

    claimed ──▶ sent ──▶ recorded

The ledger knows what was recorded, and that is not sent again. What was claimed and not recorded may have been sent:
the process died in between, or the database went down. It is sent again, with the same ``Message-ID`` or
``webhook-id``, so that a receiver can tell. No ledger can do better: a mail server takes part in no transaction.
"""

from __future__ import annotations

import logging
import math
from typing import Final

from models.notification import NotificationRequest
from streams.database.engine import Database
from streams.delivery import Skip
from streams.delivery.crash_points import crash_point
from streams.failure.errors import PermanentError, RecordError
from streams.failure.policy import one_line
from streams.notify.down_hosts import DownHosts
from streams.notify.host_limits import HostLimits
from streams.notify.letter import write_letter
from streams.notify.smtp import SmtpSender
from streams.notify.webhook import WebhookGone, WebhookSender
from streams.notify.webhook_url import host_of
from streams.settings.notifications import NotificationSettings, zone_of
from streams.stores.customer import Channel, Customer
from streams.stores.notifications import State, claim, find_customer, record, turn_off

logger = logging.getLogger(__name__)

_GONE: Final = "gone"
"""What a request is skipped for whose customer's webhook is gone."""


class Notifier:
    """Tells customers what they should hear, in the way they wish.

    Arguments:
        database: where their wishes and the ledger are.
        settings: how letters and webhooks go out.

    """

    def __init__(self, database: Database, settings: NotificationSettings) -> None:
        self._database = database
        self._letters = SmtpSender(settings)
        self._webhooks = WebhookSender(settings)
        self._limits = HostLimits(settings.rate_per_host, settings.concurrency_per_host)
        self._down = DownHosts()
        self._zone = zone_of(settings.time_zone)
        self._longest = max(self._letters.patience, settings.webhook_timeout)

    def patience(self, at_once: int) -> float:
        """Return how many seconds a message may take: behind others to the same host, and then itself.

        Arguments:
            at_once: how many are told at once by this worker.
        """
        limits = self._limits
        return math.ceil(at_once / limits.concurrency) * self._longest + at_once / limits.rate

    async def tell(self, request: NotificationRequest, place: str | None = None) -> None:
        """Tell the customer of a request.

        Arguments:
            request: what to tell.
            place: where it was read, as ``topic-partition@offset``.

        Raises:
            Skip: there is nobody to tell, they do not wish to be told, have been told, or their webhook is gone.
            IdTaken: something else was told under the request's id.
            PermanentError: the receiver will never take it, or has been down for a while.
            TransientError: it may take it later.
            DependencyUnavailable: the database or the mail server is down.
        """
        if request.customer_id is None:
            raise Skip("guest")
        customer = await find_customer(self._database, request.customer_id)
        if customer is None:
            raise Skip("unknown customer")
        if customer.channel is Channel.NONE:
            raise Skip("opted out")
        if customer.gone:
            raise Skip(_GONE)
        if not await claim(self._database, request, customer.channel, place):
            raise Skip("already sent")
        try:
            await self._send(request, customer)
        except WebhookGone as error:
            await self._turn_off(request, customer, error)
            raise Skip(_GONE) from None
        except RecordError as error:
            error.culprit = error.culprit or f"customer {customer.customer_id}"
            if isinstance(error, PermanentError):
                await record(self._database, request, State.REFUSED)
            raise
        crash_point("after_notify")
        await record(self._database, request, State.SENT)

    async def _turn_off(self, request: NotificationRequest, customer: Customer, error: WebhookGone) -> None:
        await record(self._database, request, State.GONE)
        if await turn_off(self._database, customer):
            logger.warning(
                "%s: the channel of the customer of request %s is off until 'paystream notifications load' sets it "
                "again; 'paystream notifications gone' lists such customers", error, one_line(request.request_id),
            )  # fmt: skip

    async def _send(self, request: NotificationRequest, customer: Customer) -> None:
        if customer.channel is Channel.EMAIL:
            letter = write_letter(request, customer.locale, self._zone)
            async with self._limits.turn(self._letters.host):
                await self._letters.send(request.identity, customer.address, letter)
        else:
            host = host_of(customer.address)
            with self._down.attempt(host, request.identity):
                async with self._limits.turn(host):
                    await self._webhooks.send(customer.address, customer.secret, request)

    async def close(self) -> None:
        """Close what is open."""
        await self._webhooks.close()
