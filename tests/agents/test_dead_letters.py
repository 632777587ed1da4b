from __future__ import annotations

import logging
import struct
from collections.abc import Awaitable, Callable

import pytest

from agents.dead_letters import dead_letters
from agents.payments import payments
from streams.app import app
from streams.delivery import Batch, Record
from streams.delivery.outbox import Tally
from streams.testing import record

Deliver = Callable[..., Awaitable[Batch]]

SECRET = b"4111-1111-1111-1111"
# What Spring Kafka's DeadLetterPublishingRecoverer writes, numbers big-endian.
SPRING = [
    ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
    ("kafka_dlt-exception-cause-fqcn", b"java.lang.IllegalStateException"),
    ("kafka_dlt-exception-message", b"cannot charge " + SECRET),
    ("kafka_dlt-exception-stacktrace", b"java.lang.IllegalStateException: " + SECRET),
    ("kafka_dlt-original-topic", b"payment.completed"),
    ("kafka_dlt-original-partition", struct.pack(">i", 3)),
    ("kafka_dlt-original-offset", struct.pack(">q", 99)),
    ("kafka_dlt-original-timestamp", struct.pack(">q", 1_291_191_960_000)),
    ("kafka_dlt-original-timestamp-type", b"CreateTime"),
    ("kafka_dlt-original-consumer-group", b"billing"),
]


def letter(**changes: object) -> Record:
    parts: dict[str, object] = {"topic": "payment.completed.DLT", "key": b"536365", "partition": 2, **changes}
    return record(b'{"card":"' + SECRET + b'"}', **parts)  # type: ignore[arg-type]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the agent has said."""
    caplog.set_level(logging.INFO)
    return lambda: [each.getMessage() for each in caplog.records if each.name == "agents.dead_letters"]


async def test_a_letter_of_ours_is_reported_in_one_line_that_says_where_and_why(
    deliver: Deliver, lines: Callable[[], list[str]]
) -> None:
    broken = record(b'{"card":"' + SECRET + b'"', topic="payment.completed", key=b"536365", partition=2, offset=41)
    (written,) = (await deliver(payments, broken)).outputs
    found = letter(headers=written.headers, offset=7)
    found.value = written.value
    await deliver(dead_letters, found)
    (line,) = lines()
    assert line.startswith("dead letter payment.completed.DLT-2@7 from payment.completed-2@41 order=536365")
    assert "stage=decode reason=Invalid JSON: EOF while parsing" in line
    assert line.endswith("attempts=1")


async def test_a_letter_of_spring_is_reported_by_its_exceptions_class(
    deliver: Deliver, lines: Callable[[], list[str]]
) -> None:
    await deliver(dead_letters, letter(headers=SPRING))
    (line,) = lines()
    assert "from payment.completed-3@99 order=536365 stage=unknown reason=java.lang.IllegalStateException" in line


@pytest.mark.parametrize(
    "found",
    [
        letter(headers=[]),
        letter(headers=[], key=None),
        letter(headers=[], key=b"\xff"),
        letter(headers=[("kafka_dlt-original-offset", b"\xff"), ("x-attempts", b"many"), ("x-error-stage", b"\xff")]),
        letter(headers=[("kafka_dlt-original-topic", None)]),
    ],
    ids=["no headers", "no key", "no text", "unreadable headers", "null header"],
)
async def test_a_letter_that_says_little_is_reported_all_the_same(
    deliver: Deliver, lines: Callable[[], list[str]], found: Record
) -> None:
    taken = await deliver(dead_letters, found)
    (line,) = lines()
    assert "dead letter payment.completed.DLT-2@0" in line
    assert taken.tally == Tally(processed=1)


@pytest.mark.parametrize("headers", [[], SPRING], ids=["no headers", "Spring's"])
async def test_no_payload_gets_into_the_log(
    deliver: Deliver, caplog: pytest.LogCaptureFixture, headers: list[tuple[str, bytes]]
) -> None:
    caplog.set_level(logging.DEBUG)
    await deliver(dead_letters, letter(headers=headers))
    assert SECRET.decode() not in caplog.text


@pytest.mark.parametrize(
    "found",
    [
        letter(key=b"1\nERROR all payments lost"),
        letter(key="1\u2028ERROR all payments lost".encode()),
        letter(headers=[("x-error-reason", b"so\r\nERROR all payments lost")]),
        letter(headers=[("x-error-stage", b"\x1b[2Jdecode\n")]),
        letter(headers=[("kafka_dlt-original-topic", b"a\nb")]),
    ],
    ids=["key", "line separator", "reason", "stage", "topic"],
)
async def test_nobody_can_write_a_log_line_of_their_own_by_way_of_a_letter(
    deliver: Deliver, lines: Callable[[], list[str]], found: Record
) -> None:
    await deliver(dead_letters, found)
    (line,) = lines()
    assert line.isprintable()


async def test_there_is_one_line_and_one_count_for_each_letter(
    deliver: Deliver, lines: Callable[[], list[str]]
) -> None:
    stages = [b"decode", b"validate", b"decode", None]
    before = dict(app.monitor.metric_counts)
    found = [letter(headers=[("x-error-stage", stage)] if stage else [], offset=at) for at, stage in enumerate(stages)]
    taken = await deliver(dead_letters, *found)
    assert [line.split(" from ")[0] for line in lines()] == [
        f"dead letter payment.completed.DLT-2@{at}" for at in range(4)
    ]
    counted = {
        name: count - before.get(name, 0)
        for name, count in app.monitor.metric_counts.items()
        if name.startswith("dead_letters.") and count != before.get(name, 0)
    }
    assert counted == {"dead_letters.decode": 2, "dead_letters.validate": 1, "dead_letters.unknown": 1}
    assert taken.tally == Tally(processed=4)


async def test_stages_that_others_make_up_do_not_become_counters_without_end(deliver: Deliver) -> None:
    found = [letter(headers=[("x-error-stage", b"stage %d" % at)], offset=at) for at in range(50)]
    before = set(app.monitor.metric_counts)
    await deliver(dead_letters, *found)
    assert len(set(app.monitor.metric_counts) - before) <= 1


async def test_nothing_is_written_for_a_letter_so_no_letter_begets_another(deliver: Deliver) -> None:
    taken = await deliver(dead_letters, letter(headers=SPRING), letter(offset=1))
    assert taken.outputs == []
    assert taken.rules.dead_letter_suffix is None
