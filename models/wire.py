"""What all messages share on the wire: camelCase names, bounded texts, moments with an offset.

The error messages here replace pydantic's own where those would show a regular expression to the
person who reads a dead letter. None of them quotes the value: it may be personal.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, GetPydanticSchema, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import core_schema

WIRE = ConfigDict(
    frozen=True,
    # A producer may add fields before its consumers know them.
    extra="ignore",
    alias_generator=to_camel,
    populate_by_name=True,
    # Keeps payloads out of str(ValidationError), and so out of logs and dead-letter headers.
    hide_input_in_errors=True,
)
"""The configuration of every model and dataclass in this package."""

# PostgreSQL cannot store U+0000 and terminals obey the others: neither belongs in an identifier.
_NO_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f]*$"
_NO_NUL = r"^[^\x00]*$"

# Before 1970 there was no such payment; in year 9999 a change of offset would leave the calendar.
_UTC = datetime.timezone.utc
_EARLIEST = datetime.datetime(1970, 1, 1, tzinfo=_UTC)
_LATEST = datetime.datetime(9999, 1, 1, tzinfo=_UTC)


def _text(shortest: int, longest: int, pattern: str, what: str) -> Any:
    message = f"must be text of {shortest} to {longest} characters without {what}"
    schema = core_schema.custom_error_schema(
        core_schema.str_schema(strict=True, min_length=shortest, max_length=longest, pattern=pattern),
        custom_error_type="text",
        custom_error_message=message,
    )
    return GetPydanticSchema(lambda _source, _handler: schema)


Identifier = Annotated[str, _text(1, 128, _NO_CONTROL_CHARACTERS, "control characters")]
"""An id, a code or a short name: never empty. 128 characters hold a UUID three times over."""

ConsequenceId = Annotated[str, _text(1, 255, _NO_CONTROL_CHARACTERS, "control characters")]
"""The id of what follows from an event: the event's own, what it was, and a word more."""

Label = Annotated[str, _text(0, 1000, _NO_NUL, "NUL")]
"""Text for people to read; may be empty, since shops do sell goods without a description."""


# RFC 3339, with the liberties that Java's formatters take: no seconds, nanoseconds, +0000. Without this
# the digits of a Unix timestamp would pass for a time.
_RFC_3339 = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
    r"([Zz]|[+-][0-9]{2}:?[0-9]{2})$"
)


def _moment() -> Any:
    moment = core_schema.datetime_schema(tz_constraint="aware", ge=_EARLIEST, lt=_LATEST)
    text = core_schema.str_schema(strict=True, pattern=_RFC_3339)
    schema = core_schema.custom_error_schema(
        core_schema.json_or_python_schema(core_schema.chain_schema([text, moment]), moment),
        custom_error_type="moment",
        custom_error_message=(
            "must be a date and time with its offset from UTC, such as 2010-12-01T08:26:00Z, not before 1970"
        ),
    )
    in_utc = core_schema.no_info_after_validator_function(_in_utc, schema)
    return GetPydanticSchema(lambda _source, _handler: in_utc)


def _in_utc(moment: datetime.datetime) -> datetime.datetime:
    return moment.astimezone(_UTC)


Moment = Annotated[datetime.datetime, _moment(), WithJsonSchema({"type": "string", "format": "date-time"})]
"""A point in time: RFC 3339 text with an offset. In Python it is in UTC, so that equal moments are written
in the same way. Digits beyond the microsecond are cut off."""
