"""What a mail server's refusal means: whose fault it is."""

from __future__ import annotations

import enum
import re
from typing import Final


class Step(enum.Enum):
    """What the server was asked to take; its value is how that is called in a reason."""

    SENDER = "the sender"
    RECIPIENT = "the address"
    LETTER = "the letter"


class Fault(enum.Enum):
    """Whose a refusal is."""

    SERVER = enum.auto()
    """The server's, or ours with it: every letter would be refused."""
    LETTER = enum.auto()
    """This letter's, for good."""
    PASSING = enum.auto()
    """This letter's, or nobody knows whose: it may be taken later."""


_ENHANCED: Final = re.compile(r"[45]\.\d{1,3}\.\d{1,3}(?!\S)")
# 421: it closes the channel (RFC 5321, section 3.8); 530 and 454: log in, and encrypt, first, or not now
# (RFC 4954, section 6; RFC 3207, section 4). Some say 454 as well when we have sent too much.
_SERVERS_CODES: Final = frozenset({421, 454, 530})
# RFC 3463, section 3.2: the sender's address, not the recipient's.
_SENDERS_ADDRESS: Final = frozenset({"1.7", "1.8"})
# RFC 4954, section 6: the login has expired or is too weak.
_LOGIN: Final = frozenset({"7.8", "7.9", "7.11"})
# RFC 6531, section 3.5, and RFC 6532: letters of other alphabets are not taken.
_ALPHABET: Final = frozenset({"6.7", "6.9"})
_TOO_BIG: Final = "3.4"
# Also the answer to RCPT is about us where a server puts off the refusal until then, as Postfix does.
_ABOUT_US: Final = re.compile(r"relay|authenticat|client host|sender address", re.I)
_ABOUT_THE_ADDRESS: Final = re.compile(r"gr[ea]y.?list|recipient|mailbox|user", re.I)
# Servers that refuse one address may do so in words that are like those about us.
_ABOUT_ONE_ADDRESS: Final = re.compile(
    r"recipient address rejected|user unknown|unknown user|no such user|authrequired|this recipient", re.I
)
# All that some servers say that want to see whether a letter to this address comes again.
_COME_AGAIN: Final = re.compile(r"^\S*\s*(please )?(try|come) (again|back)", re.I)
_IN_TROUBLE: Final = re.compile(
    r"(system|disk) (storage|space|full)|disk full|service (is )?(not available|unavailable)|shutting down|"
    r"too many connections|throttl|rate limit|server (is )?busy",
    re.I,
)
_MAIL_ADDRESS: Final = re.compile(r"\S*@\S*")


def judge(step: Step, code: int, text: str) -> Fault:
    """Tell whose fault a refusal is: by its code, its enhanced status code (RFC 3463), or else by its words.

    Where it is not certain that every letter would be refused, the letter is blamed: then it is given up in the end,
    and the others get on.

    Arguments:
        step: what was refused.
        code: of the answer.
        text: the rest of it.
    """
    if step is Step.SENDER:
        return _judge_sender(code, text)
    by_letter = Fault.LETTER if 500 <= code <= 599 else Fault.PASSING
    words = _MAIL_ADDRESS.sub(" ", text)
    if code in _SERVERS_CODES or (step is Step.RECIPIENT and code >= 400 and _is_about_us(text, words)):
        return Fault.SERVER
    if 400 <= code <= 499 and _is_in_trouble(text, words):
        return Fault.SERVER
    return by_letter


def enhanced(text: str) -> str:
    """Return the enhanced status code that an answer's text begins with; nothing if there is none."""
    found = _ENHANCED.match(text)
    return found[0] if found else ""


def _judge_sender(code: int, text: str) -> Fault:
    """The sender is the same for all; only a letter in other alphabets asks for more than others do."""
    return Fault.LETTER if 500 <= code <= 599 and _detail(text) in _ALPHABET else Fault.SERVER


def _is_about_us(text: str, words: str) -> bool:
    detail = _detail(text)
    if detail in _SENDERS_ADDRESS or detail in _LOGIN:
        return True
    if _ABOUT_ONE_ADDRESS.search(words):
        return False
    return (detail == "" or detail.startswith("7.")) and _ABOUT_US.search(words) is not None


def _is_in_trouble(text: str, words: str) -> bool:
    detail = _detail(text)
    if detail.startswith("3."):
        return detail != _TOO_BIG
    if _ABOUT_THE_ADDRESS.search(words) or _COME_AGAIN.search(words):
        return False
    return detail.startswith("7.") or (detail == "" and _IN_TROUBLE.search(words) is not None)


def _detail(text: str) -> str:
    """Return subject and detail of the enhanced status code, such as ``7.1``; nothing if there is none."""
    return enhanced(text).partition(".")[2]
