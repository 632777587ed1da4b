from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal

import pytest
from support.requests import REQUEST

from models.cancellation import PaymentCancelled
from models.currencies import MINOR_UNITS
from models.payment import PaymentCompleted
from streams.failure.errors import PermanentError
from streams.notify.letter import write_letter
from streams.notify.mail import make_message, message_id
from streams.settings.notifications import zone_of


@pytest.mark.parametrize(
    ("locale", "currency", "amount", "words"),
    [
        ("en_GB", "GBP", "1139.12", ["£1,139.12", "1 December 2010", "Thank you"]),
        ("en", "KRW", "15300", ["₩15,300", "December 1, 2010"]),
        ("ko", "KRW", "15300", ["₩15,300", "2010년 12월 1일", "감사합니다"]),
        ("ko-KR", "GBP", "1139.12", ["£1,139.12"]),
        # who gets an English letter gets English sums and dates in it
        ("de", "EUR", "1139.12", ["€1,139.12", "December 1, 2010", "Thank you"]),
        ("no such language", "GBP", "1139.12", ["£1,139.12", "Thank you"]),
    ],
)
def test_a_letter_speaks_the_customers_language_and_writes_sums_and_dates_as_there(
    locale: str, currency: str, amount: str, words: list[str]
) -> None:
    letter = write_letter(replace(REQUEST, currency=currency, amount=Decimal(amount)), locale)
    assert "536365" in letter.subject
    for word in words:
        assert word in letter.text, letter.text
    assert "536365" in letter.html


@pytest.mark.parametrize(
    ("locale", "currency", "amount", "words"),
    [
        ("en", "RSD", "1234.50", "RSD1,234.50"),
        ("en", "IQD", "1.500", "IQD1.500"),
        ("en", "AFN", "0.40", "AFN0.40"),
        ("ko", "LBP", "0.50", "LBP0.50"),
        ("en_IN", "GBP", "123456.70", "£1,23,456.70"),
        ("en", "GBP", "2.5", "£2.50"),
    ],
)
def test_a_letter_states_the_sum_that_was_paid_to_the_last_digit(
    locale: str, currency: str, amount: str, words: str
) -> None:
    letter = write_letter(replace(REQUEST, currency=currency, amount=Decimal(amount)), locale)
    assert words in letter.text.replace("\u00a0", ""), letter.text


def test_every_currency_is_written_with_the_digits_in_which_it_is_paid() -> None:
    for currency, digits in MINOR_UNITS.items():
        amount = 1 + Decimal(1).scaleb(-digits)
        assert f"{amount:.{digits}f}" in write_letter(replace(REQUEST, currency=currency, amount=amount), "en").text


@pytest.mark.parametrize(("zone", "day"), [("UTC", "2010년 12월 1일"), ("Asia/Seoul", "2010년 12월 2일")])
def test_the_date_is_the_day_in_the_shops_time_zone(zone: str, day: str) -> None:
    late = replace(REQUEST, occurred_at=datetime(2010, 12, 1, 20, 0, tzinfo=timezone.utc))
    letter = write_letter(late, "ko", zone_of(zone))
    assert day in letter.text
    assert day in letter.html


@pytest.mark.parametrize(
    ("template", "locale", "sentences"),
    [
        (PaymentCompleted.template, "en_GB", ["We received £1,139.12 on 1 December 2010"]),
        (PaymentCompleted.template, "ko", ["2010년 12월 1일에 £1,139.12 결제를 확인했습니다."]),
        (
            PaymentCancelled.template, "en_GB",
            [
                "was processed on 1 December 2010.",
                "We have refunded £1,139.12 to your original payment method.",
                "This is an automated message; please do not reply.",
            ],
        ),
        (
            PaymentCancelled.template, "ko",
            ["2010년 12월 1일에 처리되었습니다.", "환불 금액: £1,139.12", "결제하신 수단으로 환불됩니다."],
        ),
    ],
)  # fmt: skip
def test_both_forms_of_a_letter_say_the_same(template: str, locale: str, sentences: list[str]) -> None:
    letter = write_letter(replace(REQUEST, template=template), locale)
    for form in (letter.text, re.sub("</?strong>", "", letter.html)):
        for sentence in sentences:
            assert sentence in form


@pytest.mark.parametrize("locale", ["en", "ko"])
@pytest.mark.parametrize("template", [PaymentCompleted.template, PaymentCancelled.template])
def test_every_template_is_there_in_every_language(template: str, locale: str) -> None:
    letter = write_letter(replace(REQUEST, template=template), locale)
    assert letter.subject
    assert letter.text.strip()
    assert letter.html.startswith("<!doctype html>")
    assert f'lang="{locale}"' in letter.html
    assert "{{" not in letter.subject + letter.text + letter.html


def test_what_comes_from_an_order_cannot_become_markup_or_a_header() -> None:
    letter = write_letter(replace(REQUEST, order_id="<b>&\nBcc: all@shop.example"), "en")
    assert "<b>" not in letter.html
    assert "\n" not in letter.subject
    message = make_message("Shop <orders@shop.example>", "pay-1", "one@customer.example", letter)
    assert message["Bcc"] is None
    with pytest.raises(PermanentError, match="no e-mail address"):
        make_message("Shop <orders@shop.example>", "pay-1", "one@customer.example\nBcc: all@shop.example", letter)


def test_a_template_that_nobody_wrote_is_a_dead_letter() -> None:
    for name in ("nothing", "../../settings", "payment-completed.en"):
        with pytest.raises(PermanentError, match="there is no template"):
            write_letter(replace(REQUEST, template=name), "en")


def test_a_repeat_has_the_same_message_id_and_another_request_has_not() -> None:
    one, again, other = (message_id("Shop <o@shop.example>", each) for each in ("a\r\nX: y", "a\r\nX: y", "b"))
    assert one == again != other
    assert one.startswith("<")
    assert one.endswith("@shop.example>")
    assert "\n" not in one
