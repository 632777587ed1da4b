"""What names an event, and what follows from it; and how what two of one name say is compared.

An event's id is its kind's: payment 1001 and cancellation 1001, of two tables with a sequence each, are two events.
So what follows from an event is named ``<event id>:<kind of event>-<output>``, as in ``1001:order-inventory``. Kinds
of events have no colon in them and outputs no hyphen: two events never share such a name.

Before, the name was ``<event id>:<output>``, and did not say of what. Records with such names lie in topics for as long
as those retain them, and rows in tables for longer: from what a record says it is told which event it was.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from decimal import Decimal
from typing import Final

from models.money import EXACT

# What a digest is made of, and how. A change to that is another number, and its code must still make the digests of
# this one, to compare with those that are kept.
_VERSION: Final = "1:"
# 96 bits: that two differ and have one digest is a matter of chance, and that has to be as good as never.
_BYTES: Final = 12

# The two events that there were when names did not say which of them it was.
FORMER_SALE: Final = "order"
FORMER_REFUND: Final = "cancellation"


def consequence_id(event_id: str, event_kind: str, output: str) -> str:
    """Name what follows from an event."""
    return f"{event_id}:{event_kind}-{output}"


def completed(name: str, output: str, event_kind: str | None) -> str:
    """Return a name as it is made today: with what the event was, where it is a former one that does not say.

    Arguments:
        name: of either form, or of none that is ours: then it stays as it is.
        output: whose name it is.
        event_kind: what the event was, as its contents tell; None if they do not.
    """
    event_id, colon, rest = name.rpartition(":")
    return consequence_id(event_id, event_kind, output) if colon and rest == output and event_kind else name


def former_id(name: str, output: str) -> str | None:
    """Return the name that was once made for the same; None if `name` is not of today's form."""
    event_id, colon, rest = name.rpartition(":")
    if not colon or not rest.endswith(f"-{output}"):
        return None
    return f"{event_id}:{output}"


def digest_of(*parts: str) -> str:
    """Make a digest of what a message says, its name left out: equal for a repeat, in whatever form its name is.

    The parts are listed field by field, and not taken from the bytes on the wire: a field that is added to a message
    later, and a number that is written in another way, do not make another event of one that is replayed.
    """
    # No part holds U+0000 (models.wire).
    return _VERSION + hashlib.blake2b("\0".join(parts).encode(), digest_size=_BYTES).hexdigest()


def differ(one: str, other: str) -> bool:
    """Tell whether two digests are of different contents; what a later version has made cannot be compared."""
    return one != other and one.startswith(_VERSION) and other.startswith(_VERSION)


def moment(value: datetime) -> str:
    """Write a moment for a digest, in seconds since 1970: a third of the time that RFC 3339 would take."""
    return str(value.timestamp())


def exactly(value: Decimal) -> str:
    """Write a number for a digest: 2.5 and 2.50 alike."""
    return str(value.normalize(EXACT))
