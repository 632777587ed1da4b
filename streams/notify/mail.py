"""A letter as mail (RFC 5322)."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final

from streams.failure.errors import PermanentError
from streams.notify.letter import Letter
from streams.settings.notifications import address_of, is_address

# Not every server takes 8 bits (RFC 6152); every one takes what is encoded in 7.
_POLICY: Final = SMTP.clone(cte_type="7bit")
_POLICY_UTF8: Final = _POLICY.clone(utf8=True)


def make_message(sender: str, request_id: str, address: str, letter: Letter) -> EmailMessage:
    """Write a letter as mail (RFC 5322). A repeat has the same ``Message-ID``.

    Raises:
        PermanentError: the address is no e-mail address.
    """
    if not is_address(address):
        raise PermanentError("the customer's address is no e-mail address")
    message = EmailMessage(policy=_POLICY)
    message["From"] = sender
    message["To"] = address
    message["Subject"] = letter.subject
    # RFC 5322, section 3.6.1: when the letter was ready to be sent. That of the request would be days old after
    # an outage: filters take such letters for spam, and mail programs sort them where nobody looks.
    message["Date"] = datetime.now(timezone.utc)
    message["Message-ID"] = message_id(sender, request_id)
    # RFC 3834: so that nobody's absence note answers.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    message.add_alternative(letter.html, subtype="html")
    return message


def message_id(sender: str, request_id: str) -> str:
    """Name the letter of a request: always alike, as long as the sender's domain is.

    Whatever the request's id is made of, this is a header.
    """
    domain = address_of(sender).rpartition("@")[2]
    return f"<{hashlib.sha256(request_id.encode()).hexdigest()[:40]}@{domain}>"


def as_bytes(message: EmailMessage, address: str) -> bytes:
    """Write a letter as it goes over the wire; in UTF-8 only where the address needs it."""
    return message.as_bytes(policy=_POLICY if address.isascii() else _POLICY_UTF8)
