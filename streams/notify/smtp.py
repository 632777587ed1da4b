"""Letters through a mail server."""

from __future__ import annotations

import hashlib
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr
from typing import Final

import aiosmtplib
from aiosmtplib import (
    SMTPDataError,
    SMTPException,
    SMTPRecipientsRefused,
    SMTPResponseException,
)

from streams.failure.errors import DependencyUnavailable, PermanentError, TransientError
from streams.notification_settings import NotificationSettings
from streams.notify.letter import Letter

DEPENDENCY: Final = "smtp"
"""The name under which breakers and pages show it."""


class SmtpSender:
    """Sends letters, each over a connection of its own.

    Arguments:
        settings: the mail server, and who letters are from.
    """

    def __init__(self, settings: NotificationSettings) -> None:
        self._settings = settings
        self.host = settings.smtp_host

    async def send(self, request_id: str, address: str, letter: Letter) -> None:
        """Send a letter; the server has taken it when this returns.

        Raises:
            PermanentError: the server will never take it: 5xx for the address or the letter.
            TransientError: it may take it later: 4xx.
            DependencyUnavailable: there is no server, it is in trouble, or it refuses us and not the letter.
        """
        settings = self._settings
        password = settings.smtp_password
        try:
            await aiosmtplib.send(
                make_message(settings.sender, request_id, address, letter),
                hostname=settings.smtp_host,
                port=settings.smtp_port,
                username=settings.smtp_username,
                password=password.get_secret_value() if password is not None else None,
                use_tls=settings.smtp_security == "tls",
                start_tls=settings.smtp_security == "starttls",
                timeout=settings.smtp_timeout,
            )
        except SMTPRecipientsRefused as error:
            raise _judged(error.recipients[0].code, "the address") from None
        except SMTPDataError as error:
            raise _judged(error.code, "the letter") from None
        except SMTPResponseException as error:
            # At the greeting, the login or the sender: that is not this letter's fault.
            raise DependencyUnavailable(DEPENDENCY, f"{type(error).__name__}, {error.code}") from None
        except (SMTPException, OSError) as error:
            raise DependencyUnavailable(DEPENDENCY, type(error).__name__) from None


def make_message(sender: str, request_id: str, address: str, letter: Letter) -> EmailMessage:
    """Write a letter as mail (RFC 5322). A repeat has the same ``Message-ID``.

    Raises:
        PermanentError: the address cannot be written into a header.
    """
    message = EmailMessage(policy=SMTP)
    try:
        message["From"] = sender
        message["To"] = address
        message["Subject"] = letter.subject
        message["Message-ID"] = message_id(sender, request_id)
        # RFC 3834: so that nobody's absence note answers.
        message["Auto-Submitted"] = "auto-generated"
    except ValueError:
        raise PermanentError("the customer's address is no e-mail address") from None
    message.set_content(letter.text)
    message.add_alternative(letter.html, subtype="html")
    return message


def message_id(sender: str, request_id: str) -> str:
    """Name the letter of a request, always alike; whatever the request's id is made of, this is a header."""
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    return f"<{hashlib.sha256(request_id.encode()).hexdigest()[:40]}@{domain}>"


def _judged(code: int, what: str) -> PermanentError | TransientError:
    if code >= 500:
        return PermanentError(f"the mail server refuses {what}: {code}")
    return TransientError(f"the mail server does not take {what} now: {code}")
