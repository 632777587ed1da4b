from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from streams.failure.errors import InputError
from streams.invoices.files import read_files
from streams.invoices.reading import Reading

GOOD = b'{"paymentId": "pay-1", "orderId": "1", "paidAt": "2010-12-01T08:26:00Z"}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def read(path: Path, *lines: bytes, skip_unreadable: bool = False) -> Reading:
    path.write_bytes(b"\n".join(lines) + b"\n")
    return read_files([path], skip_unreadable=skip_unreadable)


def problem(path: Path, *lines: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(path, *lines)
    return str(caught.value).replace(str(path), path.name)


def test_a_line_is_published_byte_for_byte(path: Path) -> None:
    odd = b'{ "orderId" : "\\u0031", "amount": 1.10, "note": "\xe2\x82\xac\\u20ac", "orderId": "2" }'
    (event,) = read(path, odd).events
    assert event.value == odd
    assert event.key == b"2"  # as most readers do, of repeated names the last one counts


def test_line_ends_and_empty_lines_are_no_part_of_an_event(path: Path) -> None:
    assert [event.value for event in read(path, GOOD + b"\r", b"", b"  ", GOOD).events] == [GOOD, GOOD]


def test_the_last_line_needs_no_line_break(path: Path) -> None:
    path.write_bytes(GOOD)
    assert len(read_files([path]).events) == 1


def test_an_event_gets_the_headers_that_its_body_allows(path: Path) -> None:
    whole, timeless, nameless = read(
        path, GOOD, b'{"orderId": "1", "paymentId": "pay-1", "paidAt": "yesterday"}', b'{"orderId": "1"}'
    ).events
    assert dict(whole.headers)["ce_time"] == b"2010-12-01T08:26:00Z"
    assert dict(whole.headers)["ce_id"] == b"pay-1"
    assert set(dict(whole.headers)) - set(dict(timeless.headers)) == {"ce_time"}
    assert nameless.headers == (("content-type", b"application/json"),)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"orderId": "1"', "events.jsonl:2: not JSON: Expecting ',' delimiter"),
        (b"\xff", "events.jsonl:2: not UTF-8"),
        (b"[1]", "events.jsonl:2: expected a JSON object"),
        (b"null", "events.jsonl:2: expected a JSON object"),
        (b"{}", "events.jsonl:2: column 'orderId': expected the order's id as text: it is the record's key"),
        (b'{"orderId": 1}', "events.jsonl:2: column 'orderId': expected the order's id as text"),
        (b'{"orderId": ""}', "events.jsonl:2: column 'orderId': expected the order's id as text"),
        (b'{"orderId": "\\ud800"}', "events.jsonl:2: an id holds half of a surrogate pair"),
        (b'{"orderId": "1", "n": ' + b"9" * 5000 + b"}", "events.jsonl:2: not JSON: too long a number"),
        (b"[" * 100_000, "events.jsonl:2: not JSON: too long a number or too deeply nested"),
        (b'{"orderId": "1", "x": "' + b"x" * 1_048_576 + b'"}', "events.jsonl:2: the event has 1,048,"),
    ],
)
def test_a_line_that_cannot_be_published_is_named_with_its_reason(path: Path, line: bytes, reason: str) -> None:
    assert problem(path, GOOD, line).startswith(reason)
    reading = read(path, GOOD, line, GOOD, skip_unreadable=True)
    assert (len(reading.events), len(reading.left_out)) == (2, 1)


def test_an_empty_file_and_one_of_empty_lines_are_told_apart(path: Path) -> None:
    assert problem(path, b"") == "events.jsonl: there are no orders in it"
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"events\.jsonl: the file is empty"):
        read_files([path])
    assert [str(left) for left in read_files([path], skip_unreadable=True).left_out] == [f"{path}: the file is empty"]


def test_a_file_of_lines_that_cannot_be_read_is_not_said_to_have_none(path: Path) -> None:
    (left,) = read(path, b"{", skip_unreadable=True).left_out
    assert "not JSON" in str(left)


def test_no_reason_quotes_the_event(path: Path) -> None:
    assert "Jane" not in problem(path, b'{"orderId": 1, "name": "Jane"}')
    assert "Jane" not in problem(path, b'{"name": "Jane" "orderId": 1}')


def test_lines_before_the_end_of_a_cut_archive_are_good_and_its_end_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.xz"
    lines = b"".join(b'{"orderId": "%d", "x": "%d"}\n' % (n, n * n) for n in range(20_000))
    archive = lzma.compress(lines)
    path.write_bytes(archive[: len(archive) // 2])
    with pytest.raises(InputError, match="the archive is cut off"):
        read_files([path])
    reading = read_files([path], skip_unreadable=True)
    assert 0 < len(reading.events) < 20_000
    assert "the archive is cut off" in str(reading.left_out[-1])


@pytest.mark.parametrize("lines", [(b"\xef\xbb\xbf" + GOOD,), (GOOD, b"\xef\xbb\xbf" + GOOD), (b"\xef\xbb\xbf", GOOD)])
def test_a_byte_order_mark_is_the_files_and_no_part_of_an_event(path: Path, lines: tuple[bytes, ...]) -> None:
    assert {event.value for event in read(path, *lines).events} == {GOOD}


def test_nothing_behind_a_byte_order_mark_is_nothing(path: Path) -> None:
    assert "there are no orders in it" in problem(path, b"\xef\xbb\xbf")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_a_file_in_another_encoding_is_told_how_to_be_saved(path: Path, encoding: str) -> None:
    path.write_bytes(GOOD.decode().encode(encoding))
    with pytest.raises(InputError, match=rf"the file is in {encoding[:6].upper()}: save it as UTF-8"):
        read_files([path])
    left_out = read_files([path], skip_unreadable=True).left_out
    assert len(left_out) == 1


@pytest.mark.parametrize("time", ["2010-13-01T08:26:00Z", "2010-12-01", "2010-12-01T08:26:00", "\\ud83d"])
def test_what_no_reader_would_take_for_a_time_is_not_written_as_one(path: Path, time: str) -> None:
    (event,) = read(path, GOOD.replace(b"2010-12-01T08:26:00Z", time.encode())).events
    assert "ce_time" not in dict(event.headers)


def test_an_id_with_control_characters_names_no_cloudevent(path: Path) -> None:
    (event,) = read(path, GOOD.replace(b"pay-1", b"pay\\n1")).events
    assert "ce_id" not in dict(event.headers)
