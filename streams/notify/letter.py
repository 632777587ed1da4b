"""The texts: Jinja2 templates in the customer's language, sums and dates as they are written there."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from datetime import timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Final

from babel.core import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.numbers import format_currency
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateNotFound, select_autoescape

from models.currencies import MINOR_UNITS
from models.notification import NotificationRequest
from streams.failure.errors import PermanentError

LANGUAGES: Final = ("en", "ko")
"""In which there are templates; the first serves everybody else."""

_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True, slots=True)
class Letter:
    """What a customer reads."""

    subject: str
    text: str
    html: str


def write_letter(request: NotificationRequest, locale: str, zone: tzinfo = timezone.utc) -> Letter:
    """Write the letter of a request.

    Arguments:
        request: what to tell.
        locale: of whom to tell, for example ``ko`` or ``en_GB``.
        zone: whose day is given as the date.

    Raises:
        PermanentError: there is no such template.
    """
    chosen = _locale(locale)
    language = chosen.language
    words = {
        "order": request.order_id,
        "amount": _written(request.amount, request.currency, chosen),
        "date": format_date(request.occurred_at.astimezone(zone), "long", locale=chosen),
    }
    try:
        subject, _, text = _TEMPLATES.get_template(f"{request.template}.{language}.txt").render(words).partition("\n\n")
        html = _TEMPLATES.get_template(f"{request.template}.{language}.html").render(words, language=language)
    except TemplateNotFound:
        raise PermanentError("there is no template of the name that is asked for") from None
    return Letter(" ".join(subject.split()), text, html)


def _written(amount: Decimal, currency: str, locale: Locale) -> str:
    """Write a sum as it is written there, to the last digit.

    Babel goes by the digits that are in use (CLDR), and would round: in RSD, say, which is paid in whole dinars.
    """
    pattern = copy(locale.currency_formats["standard"])
    pattern.frac_prec = (MINOR_UNITS[currency], MINOR_UNITS[currency])
    return format_currency(amount, currency, pattern, locale, currency_digits=False)


def _locale(name: str) -> Locale:
    """Read a locale; what there are no letters for gets sums and dates, too, as those of the first language."""
    try:
        found = Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return Locale.parse(LANGUAGES[0])
    return found if found.language in LANGUAGES else Locale.parse(LANGUAGES[0])
