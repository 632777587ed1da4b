from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from models.cancellation import PaymentCancelled
from models.payment import PaymentCompleted
from streams.failure.errors import InputError
from streams.invoices.files import read_files
from streams.invoices.reading import MAX_EVENT_BYTES, Reading

EXAMPLE = Path(__file__).parents[3] / "examples" / "online_retail_2010-12-01.csv"
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
FIRST = "1,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850,United Kingdom\n"
SECOND = "2,71053,LANTERN,2,2010-12-01 08:28:00,3.39,,France\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "day.csv"


def read(path: Path, text: str | bytes, *, skip_unreadable: bool = False) -> Reading:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_files([path], skip_unreadable=skip_unreadable)


def problem(path: Path, text: str | bytes) -> str:
    """What stops the reading; skipping must then leave out just that and say the same."""
    with pytest.raises(InputError) as caught:
        read(path, text)
    assert [str(left) for left in read(path, text, skip_unreadable=True).left_out] == [str(caught.value)]
    return str(caught.value).replace(str(path), path.name)


def bodies(reading: Reading) -> list[dict[str, Any]]:
    return [json.loads(event.value) for event in reading.events]


# -- what becomes of good lines ------------------------------------------------------------------


def test_the_lines_of_an_invoice_become_one_payment_event(path: Path) -> None:
    reading = read(path, HEADER + FIRST + "1,71053,,2,2010-12-01 08:26:00,3.39,17850,United Kingdom\n")
    assert bodies(reading) == [
        {
            "paymentId": "pay-1",
            "orderId": "1",
            "customerId": "17850",
            "method": "CARD",
            "currency": "GBP",
            "amount": "22.08",
            "paidAt": "2010-12-01T08:26:00Z",
            "country": "United Kingdom",
            "lines": [
                {"sku": "85123A", "name": "HEART", "quantity": 6, "unitPrice": "2.55"},
                {"sku": "71053", "name": "", "quantity": 2, "unitPrice": "3.39"},
            ],
        }
    ]


def test_an_event_has_the_order_id_as_key_and_cloudevents_headers(path: Path) -> None:
    (event,) = read(path, HEADER + FIRST).events
    assert event.key == b"1"
    assert dict(event.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"pay-1",
        "ce_source": b"/shop/orders",
        "ce_type": b"shop.payment.completed.v1",
        "ce_time": b"2010-12-01T08:26:00Z",
        "ce_subject": b"1",
        "content-type": b"application/json",
    }


def test_lines_that_lie_apart_are_one_invoice_which_stands_where_it_began(path: Path) -> None:
    later = FIRST.replace("08:26", "09:00")
    reading = read(path, HEADER + FIRST + SECOND + later)
    assert [(body["orderId"], len(body["lines"])) for body in bodies(reading)] == [("1", 2), ("2", 1)]
    assert bodies(reading)[0]["paidAt"] == "2010-12-01T08:26:00Z"


def test_an_empty_customer_is_a_guest(path: Path) -> None:
    assert bodies(read(path, HEADER + SECOND))[0]["customerId"] is None


def test_an_invoice_whose_number_begins_with_c_is_a_cancellation_with_its_signs_turned(path: Path) -> None:
    back = "C" + FIRST.replace(",6,", ",-6,")
    reading = read(path, HEADER + back + SECOND + back)
    assert [event.key for event in reading.events] == [b"C1", b"2"], "in the order of the file"
    assert [event.key for event in reading.payments] == [b"2"]
    (event,) = reading.cancellations
    body = json.loads(event.value)
    assert (body["cancellationId"], body["orderId"], body["paymentId"]) == ("can-C1", "C1", None)
    assert [line["quantity"] for line in body["lines"]] == [6, 6]
    assert body["cancelledAt"] == "2010-12-01T08:26:00Z"
    assert dict(event.headers)["ce_type"] == b"shop.payment.cancelled.v1"
    assert dict(event.headers)["ce_id"] == b"can-C1"
    assert PaymentCancelled.model_validate_json(event.value).takes_back


def test_a_cancellation_of_pieces_above_zero_is_published_as_it_is_for_the_pipeline_to_judge(path: Path) -> None:
    (event,) = read(path, HEADER + "C" + FIRST).cancellations
    body = json.loads(event.value)
    assert (body["amount"], body["lines"][0]["quantity"]) == ("-15.30", -6)
    with pytest.raises(ValueError, match="quantity"):
        PaymentCancelled.model_validate_json(event.value)


@pytest.mark.parametrize(
    ("quantity", "price", "amount"),
    [("-10", "0.00", "0.00"), ("1", "-11062.06", "-11062.06"), ("1", "0", "0.00"), ("12", "0.001", "0.01")],
)
def test_write_offs_and_adjustments_are_published_as_they_are(
    path: Path, quantity: str, price: str, amount: str
) -> None:
    line = FIRST.replace(",6,", f",{quantity},").replace("2.55", price)
    (body,) = bodies(read(path, HEADER + line))
    assert (body["amount"], body["lines"][0]["unitPrice"]) == (amount, price)


def test_columns_may_stand_in_any_order_among_others_and_behind_a_byte_order_mark(path: Path) -> None:
    text = (
        "\ufeffNote,Country,CustomerID,UnitPrice,InvoiceDate,Quantity,Description,StockCode,InvoiceNo\r\n"
        'x,France,1,2.55,2010-12-01T08:26:00,6,"A ""B"", C",85123A,7\r\n\r\n'
    )
    (body,) = bodies(read(path, text))
    assert (body["orderId"], body["country"], body["lines"][0]["name"]) == ("7", "France", 'A "B", C')


def test_an_archive_reads_as_the_file_in_it(tmp_path: Path) -> None:
    archive = tmp_path / "day.csv.xz"
    archive.write_bytes(lzma.compress(EXAMPLE.read_bytes()))
    assert read_files([archive]).events == read_files([EXAMPLE]).events


# -- what stops it -------------------------------------------------------------------------------


def test_a_missing_column_is_named_with_its_file_and_line(path: Path) -> None:
    text = (HEADER + FIRST).replace("UnitPrice", "Price")
    assert problem(path, text) == "day.csv:1: column 'UnitPrice': the header has no such column"


@pytest.mark.parametrize("quantity", ["", "six", "6.5", "1e3", " 6", "6" * 10, "\u0666"])
def test_an_unreadable_quantity_is_named_with_its_place(path: Path, quantity: str) -> None:
    text = HEADER + FIRST + SECOND.replace(",2,2010", f",{quantity},2010")
    assert problem(path, text) == "day.csv:3: column 'Quantity': expected a whole number of at most 9 digits"


@pytest.mark.parametrize("price", ["", "free", "2,55", "1e3", "NaN", "£2.55", "0.1234567", "1" * 13])
def test_an_unreadable_price_is_named_with_its_place(path: Path, price: str) -> None:
    text = HEADER + FIRST + SECOND.replace("3.39", f'"{price}"')
    assert problem(path, text).startswith("day.csv:3: column 'UnitPrice': expected a number such as 2.55")


@pytest.mark.parametrize("date", ["", "12/1/2010 8:26", "2010-13-01 08:26:00", "2010-12-01", "1291191960"])
def test_an_unreadable_date_is_named_with_its_place(path: Path, date: str) -> None:
    text = HEADER + FIRST + SECOND.replace("2010-12-01 08:28:00", date)
    assert problem(path, text).startswith("day.csv:3: column 'InvoiceDate': expected a date and time")


@pytest.mark.parametrize(("column", "wrong"), [("CustomerID", "17850"), ("Country", "United Kingdom")])
def test_the_lines_of_an_invoice_must_agree_on_whose_it_is(path: Path, column: str, wrong: str) -> None:
    text = HEADER + FIRST + FIRST.replace(wrong, "X")
    assert problem(path, text) == f"day.csv:3: column {column!r}: differs from the first line of the same invoice"


def test_a_line_that_is_not_utf_8_is_named(path: Path) -> None:
    text = (HEADER + FIRST).encode() + SECOND.encode().replace(b"LANTERN", b"\xa3 LANTERN")
    assert problem(path, text) == "day.csv:3: column 'Description': not UTF-8"


def test_a_line_number_counts_lines_not_records(path: Path) -> None:
    text = HEADER + FIRST.replace("HEART", '"A\nHEART"') + SECOND.replace("3.39", "x")
    assert problem(path, text).startswith("day.csv:4: column 'UnitPrice'")


def test_an_event_too_large_for_kafka_is_named_with_its_first_line(path: Path) -> None:
    big = FIRST.replace("HEART", "H" * 100_000)
    assert problem(path, HEADER + SECOND + big * 11).startswith("day.csv:3: the event has 1,10")
    small = FIRST.replace("HEART", "H" * 100_000) * 10
    assert read(path, HEADER + small).events[0].size < MAX_EVENT_BYTES


def test_a_file_cut_off_anywhere_but_between_two_lines_is_never_taken_for_whole(path: Path) -> None:
    whole = (HEADER + FIRST + SECOND).encode()
    for end in range(len(whole)):
        part = whole[:end]
        if part.endswith(b"\n") and part.count(b"\n") >= 1:
            continue  # nobody can see that
        with pytest.raises(InputError):
            read(path, part)


@pytest.mark.parametrize("kept", [0, 1, 100, 5000])
def test_an_archive_that_is_cut_off_is_refused_whole(tmp_path: Path, kept: int) -> None:
    archive = tmp_path / "day.csv.xz"
    archive.write_bytes(lzma.compress(EXAMPLE.read_bytes())[:kept])
    with pytest.raises(InputError, match=r"day\.csv\.xz: the archive is (cut off|damaged)"):
        read_files([archive])
    reading = read_files([archive, EXAMPLE], skip_unreadable=True)
    assert (len(reading.left_out), len(reading.events)) == (1, 143)


def test_an_archive_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "day.csv.xz"
    archive.write_bytes(HEADER.encode())
    with pytest.raises(InputError, match="the archive is damaged"):
        read_files([archive])


def test_a_file_that_is_not_there_or_of_another_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: cannot be read: No such file"):
        read_files([tmp_path / "none.csv"])
    with pytest.raises(InputError, match=r"day\.xls: unknown kind of file"):
        read_files([tmp_path / "day.xls"])


def test_an_empty_file_and_one_of_a_header_alone_are_told_apart(path: Path) -> None:
    assert problem(path, "") == "day.csv: the file is empty"
    assert problem(path, HEADER) == "day.csv: there are no orders in it"
    assert problem(path, HEADER + "\n\n") == "day.csv: there are no orders in it"


# -- skipping what cannot be read ----------------------------------------------------------------


def test_an_invoice_with_one_bad_line_is_left_out_whole_and_reported_once(path: Path) -> None:
    bad = FIRST.replace("2.55", "x")
    reading = read(path, HEADER + FIRST + bad + SECOND + bad, skip_unreadable=True)
    assert [event.key for event in reading.events] == [b"2"]
    assert [problem.line for problem in reading.left_out] == [3]


@pytest.mark.parametrize("line", [",A,B,1,2010-12-01 08:26:00,1,,X\n", "2\n", '2,"A\n'])
def test_where_nobody_knows_whose_line_is_broken_no_invoice_of_the_file_is_published(path: Path, line: str) -> None:
    reading = read(path, HEADER + FIRST + line, skip_unreadable=True)
    assert (len(reading.events), len(reading.left_out)) == (0, 1)


# -- the example ---------------------------------------------------------------------------------


def test_the_example_is_a_whole_day_with_its_dirt() -> None:
    reading = read_files([EXAMPLE])
    assert (len(reading.payments), len(reading.cancellations), reading.left_out) == (137, 6, [])
    first = PaymentCompleted.model_validate_json(reading.events[0].value)
    assert (first.payment_id, str(first.amount), len(first.lines)) == ("pay-536365", "139.12", 7)


def test_most_of_the_example_are_valid_payments_and_the_write_offs_are_not() -> None:
    invalid = []
    reading = read_files([EXAMPLE])
    for event in reading.payments:
        try:
            PaymentCompleted.model_validate_json(event.value)
        except ValueError:
            invalid.append(event.key)
    assert len(invalid) == 10
    for event in reading.cancellations:
        assert PaymentCancelled.model_validate_json(event.value).payment_id is None


def test_a_csv_file_in_utf_16_is_told_how_to_be_saved(tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("InvoiceNo,StockCode\n", "utf-16")
    with pytest.raises(InputError, match="the file is in UTF-16: save it as UTF-8"):
        read_files([file])
