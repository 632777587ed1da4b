from __future__ import annotations

import io
import json
import re
import struct

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from streams.commands.dead_letters import Listing, dead_letters, print_listing
from streams.dead_letters.kinds import why
from streams.dead_letters.reading import read_dead_letter
from streams.dead_letters.text import (
    bytes_as_text,
    header_texts,
    payload_as_json,
    payload_as_text,
    printable,
)
from streams.dead_letters.view import is_dead_letter, view_of
from streams.dead_letters.writing import Failure, Limits, Origin, dead_letter_headers
from streams.failure.errors import ExitStatus, InvalidRecord, Stage
from streams.failure.policy import Disposition
from streams.kafka.record import Headers, Record

TOPIC = "payment.completed.DLT"
REASON = "lines.0.quantity: Input should be greater than 0"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(dead_letters, arguments, env={"PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"})


def letter(
    offset: int, *, at: int = 0, reason: str = "lines: too few", fingerprint: str = "", partition: int = 0
) -> Record:
    headers: Headers = [
        ("x-error-reason", reason.encode()),
        ("x-error-fingerprint", (fingerprint or reason).encode()),
    ]
    return Record(TOPIC, partition, offset, at, 0, b"o%d" % offset, b"{}", headers)


# -- the command line ------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("list",), ("show", TOPIC, "0", "0")])
def test_when_nothing_answers_there_is_one_line_and_its_status(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.exit_code == ExitStatus.UNREACHABLE
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "127.0.0.1:1" in line


def test_help_teaches_with_examples() -> None:
    for arguments in (["--help"], ["list", "--help"], ["show", "--help"]):
        shown = CliRunner().invoke(dead_letters, arguments)
        assert shown.exit_code == 0
        assert "  paystream dead-letters " in shown.stdout


# -- the listing -----------------------------------------------------------------------------------


def test_the_newest_come_last_whatever_the_order_of_reading() -> None:
    listing = Listing(limit=None)
    for record in (letter(0, at=30), letter(1, at=10), letter(2, at=20)):
        listing.add(record)
    assert [view.offset for view in listing.newest] == [1, 2, 0]


def test_equal_times_keep_the_order_of_their_partition() -> None:
    listing = Listing(limit=None)
    for offset in (2, 0, 1):
        listing.add(letter(offset, at=5))
    assert [view.offset for view in listing.newest] == [0, 1, 2]


def test_a_limit_keeps_the_newest_and_the_counts_are_of_all() -> None:
    listing = Listing(limit=2)
    for offset in range(100):
        listing.add(letter(offset, at=(offset * 37) % 100, reason="a" if offset % 4 else "b"))
    assert len(listing.newest) == 2
    assert [(view.offset * 37) % 100 for view in listing.newest] == [98, 99]
    assert listing.count == 100
    assert {view.reason: kind.count for kind in listing.kinds.values() for view in [kind.newest]} == {
        "a": 75,
        "b": 25,
    }


def test_letters_that_failed_alike_are_one_kind_though_their_reasons_name_different_places() -> None:
    listing = Listing(limit=None)
    listing.add(letter(0, reason="lines.0.quantity: too small", fingerprint="f"))
    listing.add(letter(1, reason="lines.7.quantity: too small", fingerprint="f"))
    (kind,) = listing.kinds.values()
    assert kind.count == 2
    assert kind.newest.offset == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the value is empty", "the value is in UTF-16, and not UTF-8 as JSON must be"),
        ("Invalid JSON: EOF while parsing at line 1 column 9", "the value is not UTF-8: byte 9 cannot be decoded"),
        ("webhook refuses it: 404", "webhook refuses it: 410"),
        ("webhook one.example.com is down", "webhook two.example.com is down"),
    ],
)
def test_what_failed_at_one_place_for_two_reasons_is_two_rows(one: str, other: str) -> None:
    listing = Listing(limit=None)
    for offset in range(6):
        listing.add(letter(offset, reason=other if offset % 3 else one, fingerprint="f"))
    assert {kind.newest.reason: kind.count for kind in listing.kinds.values()} == {one: 2, other: 4}


def test_the_example_of_a_kind_is_its_newest_letter_whichever_partition_is_read_first() -> None:
    listing = Listing(limit=1)
    listing.add(letter(0, at=20, partition=1))
    listing.add(letter(1, at=10, partition=0))
    (kind,) = listing.kinds.values()
    assert (kind.count, kind.newest.partition) == (2, 1)


def test_a_reason_filters_letters_and_counts_in_whatever_case() -> None:
    listing = Listing(limit=None, reason="QUANTITY")
    listing.add(letter(0, reason="lines.0.quantity: too small"))
    listing.add(letter(1, reason="amount is wrong"))
    assert [view.offset for view in listing.newest] == [0]
    assert listing.count == 1


def test_a_letter_without_a_reason_is_known_by_its_exception_and_one_with_nothing_is_unknown() -> None:
    spring = Record(TOPIC, 0, 0, 0, 0, None, b"", [("kafka_dlt-exception-fqcn", b"java.lang.Error")])
    assert why(view_of(spring)) == "java.lang.Error"
    assert why(view_of(Record(TOPIC, 0, 0, 0, 0, None, b"", []))) == "unknown"


# -- the listing on a screen -----------------------------------------------------------------------


def full_letter(offset: int = 17, *, order: str = "536546", topic: str = TOPIC, reason: str = REASON) -> Record:
    headers: Headers = [
        ("x-error-stage", b"validate"),
        ("x-disposition", b"permanent"),
        ("x-attempts", b"1"),
        ("x-failed-at", b"2010-12-01T14:56:54.000Z"),
        ("x-error-reason", reason.encode()),
    ]
    return Record(topic, 2, offset, offset, 0, order.encode(), b"{}", headers)


def screen(width: int, *letters: Record, colours: bool = False) -> list[str]:
    """The lines of the listing as a terminal of a width shows them before it breaks any."""
    listing = Listing(limit=None)
    for record in letters:
        listing.add(record)
    file = io.StringIO()
    system = "truecolor" if colours else None
    console = Console(file=file, width=width, force_terminal=True, color_system=system, highlight=False, markup=False)
    print_listing(listing, console)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 90, 95, 98, 100, 101, 120, 150, 160, 200, 4096])
def test_whatever_the_width_nothing_of_what_is_to_be_copied_is_cut_or_broken(width: int) -> None:
    order = "order-of-forty-characters-0123456789abcd"
    lines = screen(width, full_letter(), full_letter(123_456_789, order=order))
    assert not any("…" in line for line in lines)
    for offset, name in ((17, "536546"), (123_456_789, order)):
        (line,) = [line for line in lines if re.search(rf"\b{offset}\b", line)]
        assert re.search(rf"{re.escape(TOPIC)}\W+2\W+{offset}\W.*\b{name}\b", line)
        assert "2010-12-01 14:56:54" in line
    assert sum(order in line for line in lines) == 2, "in the list, and as an example of its kind"


def test_on_a_screen_of_80_columns_a_letter_is_two_lines_the_first_as_show_takes_it() -> None:
    first, second, *_ = screen(80, full_letter())
    assert first == "payment.completed.DLT 2 17  order 536546  2010-12-01 14:56:54"
    assert second == "  lines.0.quantity: Input should be greater than 0"


@pytest.mark.parametrize(("width", "there"), [(100, False), (110, False), (130, False), (160, True), (200, True)])
def test_how_often_it_was_tried_is_shown_where_there_is_room_beside_the_reason(width: int, there: bool) -> None:
    lines = screen(width, full_letter())
    assert [name in lines[1] for name in ("stage", "disposition", "attempts")] == [there] * 3
    assert max(map(len, lines)) <= width
    assert "offset" in lines[1]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_a_long_reason_is_folded_and_keeps_every_word(width: int) -> None:
    reason = " ".join(f"word{number}" for number in range(150))
    lines = screen(width, full_letter(reason=reason))
    assert max(map(len, lines)) <= max(width, len("payment.completed.DLT 2 17  order 536546  2010-12-01 14:56:54"))
    assert re.findall(r"word\d+", "\n".join(lines)) == reason.split() * 2


def test_where_there_is_no_room_for_a_table_the_counts_are_lines_too() -> None:
    lines = screen(40, full_letter(), full_letter(18), full_letter(19, reason="not JSON", order="7"))
    title = lines.index("3 dead letters by reason")
    assert lines[title + 1 :] == [
        "2: the newest is of order 536546",
        "  lines.0.quantity: Input should be",
        "  greater than 0",
        "1: the newest is of order 7",
        "  not JSON",
    ]


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("colours", [True, False])
def test_no_line_ends_with_blanks(width: int, colours: bool) -> None:
    lines = screen(width, full_letter(), full_letter(18, reason="not JSON"), colours=colours)
    assert all(re.search(r" (\x1b\[[0-9;]*m)*$", line) is None for line in lines)


def test_what_a_terminal_would_obey_is_escaped_in_two_lines_as_well() -> None:
    lines = screen(60, full_letter(order="[red]5:smile:\x1b[2J", reason="[bold]\x07"))
    assert lines[0].startswith(r"payment.completed.DLT 2 17  order [red]5:smile:\x1b[2J")
    assert lines[1] == r"  [bold]\x07"


# -- what is a dead letter -------------------------------------------------------------------------


def test_a_letter_of_ours_and_of_springs_is_one_by_any_of_what_it_must_have() -> None:
    origin = Origin("payment.completed", 1, 2, 3, "CreateTime", "paystream.payments")
    failure = Failure(InvalidRecord("too few"), Stage.VALIDATE, Disposition.PERMANENT, 1, 0.0, 0.0)
    ours = dead_letter_headers([("ce_id", b"pay-1")], origin, failure, Limits(1024, 0))
    spring: Headers = [
        ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
        ("kafka_dlt-original-topic", b"payment.completed"),
        ("kafka_dlt-original-partition", struct.pack(">i", 3)),
        ("kafka_dlt-original-offset", struct.pack(">q", 1234)),
    ]
    for headers in (ours, spring, spring[:1], spring[1:], [("x-error-reason", b"too few")]):
        assert is_dead_letter(read_dead_letter(headers))


@pytest.mark.parametrize(
    "headers",
    [[], [("ce_id", b"pay-1"), ("content-type", b"application/json")], [("x-request-id", b"7")],
     [("x-replay-count", b"1"), ("x-replay-id", b"a")]],
)  # fmt: skip
def test_an_event_and_one_that_was_sent_back_are_no_dead_letters(headers: Headers) -> None:
    assert not is_dead_letter(read_dead_letter(headers))


# -- headers, one by one ---------------------------------------------------------------------------


def test_headers_keep_their_order_and_binary_numbers_are_read() -> None:
    texts = header_texts(
        [
            ("kafka_dlt-original-partition", struct.pack(">i", 3)),
            ("kafka_dlt-original-offset", struct.pack(">q", 1234)),
            ("kafka_dlt-original-timestamp", struct.pack(">q", 1_291_191_960_000)),
            ("kafka_dlt-original-topic", b"payment.completed"),
            ("x-attempts", b"6"),
            ("x-failed-at", b"2010-12-01T08:26:00.000Z"),
            ("ce_id", "pay-£".encode()),
            ("x-unknown", b"\xff\x00"),
            ("x-null", None),
        ]
    )
    assert [(text.name, text.text) for text in texts] == [
        ("kafka_dlt-original-partition", "3"),
        ("kafka_dlt-original-offset", "1234"),
        ("kafka_dlt-original-timestamp", "1291191960000 (2010-12-01 08:26:00 UTC)"),
        ("kafka_dlt-original-topic", "payment.completed"),
        ("x-attempts", "6"),
        ("x-failed-at", "2010-12-01T08:26:00.000Z"),
        ("ce_id", "pay-£"),
        ("x-unknown", "\\xff\x00"),
        ("x-null", "null"),
    ]
    assert not any(text.may_quote for text in texts)


@pytest.mark.parametrize(
    "name",
    [
        "kafka_dlt-exception-message",
        "kafka_exception-message",
        "kafka_dlt-exception-stacktrace",
        "kafka_dlt-key-exception-message",
        "x-exception-message",
        "__connect.errors.exception.message",
        "__streams.errors.stacktrace",
    ],
)
def test_a_header_that_may_quote_the_payload_is_marked_whoever_wrote_it(name: str) -> None:
    (text,) = header_texts([(name, b"could not read {secret}")])
    assert text.may_quote
    assert text.is_trace == name.endswith("stacktrace")


def test_a_number_that_cannot_be_read_is_shown_as_its_bytes() -> None:
    (text,) = header_texts([("kafka_dlt-original-offset", b"\xff\xfe")])
    assert printable(text.text) == r"\xff\xfe"


def test_a_time_before_the_calendar_or_none_is_shown_as_its_number() -> None:
    for number in (-1, 2**62):
        (text,) = header_texts([("kafka_dlt-original-timestamp", struct.pack(">q", number))])
        assert text.text == str(number)


# -- texts for a terminal --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain £ 注文", "plain £ 注文"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),  # clear the screen, ring
        ("\x9b31m", r"\x9b31m"),  # the same in one character
        ("a\u202eb", r"a\u202eb"),  # from right to left
        ("a\nb", r"a\nb"),
        ("\ud800", r"\ud800"),  # half a surrogate pair, which no terminal can be sent
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_stay_lines_where_they_may() -> None:
    assert printable("a\n\tb\r", newlines=True) == "a\n\tb\\r"


def test_a_json_payload_is_indented_and_keeps_its_order_and_its_letters() -> None:
    assert payload_as_text('{"b":"£1","a":[1]}'.encode()) == '{\n  "b": "£1",\n  "a": [\n    1\n  ]\n}'


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "none (a tombstone)"),
        (b"", ""),
        (b"{broken", "{broken"),
        (b"\xffabc\x1b", r"\xffabc\x1b"),
        (b"[" * 100_000, "[" * 100_000),
        (b'"\\ud800\\u009b"', r'"\ud800\x9b"'),
    ],
)
def test_any_other_payload_is_shown_as_text_with_escapes(value: bytes | None, shown: str) -> None:
    assert payload_as_text(value) == shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"a": 1.10}', {"payload": '{"a": 1.10}'}),
        (None, {"payload": None}),
        (b"\xff\x00", {"payload_base64": "/wA="}),
    ],
)
def test_for_a_program_every_byte_of_a_payload_is_kept(value: bytes | None, expected: object) -> None:
    assert json.loads(json.dumps(payload_as_json(value))) == expected


def test_bytes_that_are_not_text_are_told_apart_from_text() -> None:
    assert bytes_as_text(b"\xc3\xa9\xff") == "é\\xff"
