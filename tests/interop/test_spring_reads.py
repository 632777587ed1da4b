"""A dead letter that a worker of ours has written is read by a Spring listener, with the types Spring documents."""

from __future__ import annotations

from interop.witness import Witness
from support.kafka import produce, read_topic, recreate_declared_topics, wait_until_consumed
from support.payments import DEAD_LETTERS, Fate, payments, raws
from support.worker import Crew

from streams.settings import Settings
from streams.topics import PAYMENT_COMPLETED


async def test_spring_binds_the_headers_of_our_dead_letters(witness: Witness, crew: Crew) -> None:
    await recreate_declared_topics(crew.servers, Settings())
    sent = payments(range(60))  # of which 13 is not UTF-8, and 57 adds up to something else
    await produce(crew.servers, PAYMENT_COMPLETED, raws(sent))
    crew.hire("worker", agents=["agents.payments"]).start()
    await wait_until_consumed(crew.servers, crew.group(), PAYMENT_COMPLETED)

    bad = {each.key.hex(): each for each in sent if each.fate is not Fate.PROCESSED}
    timestamps = {each.key.hex(): each.timestamp for each in await read_topic(crew.servers, PAYMENT_COMPLETED)}
    letters = {each["key"]: each for each in await witness.run("read", crew.servers, DEAD_LETTERS, str(len(bad)))}
    assert letters.keys() == bad.keys()
    for key, letter in letters.items():
        payment = bad[key]
        trace = letter.pop("trace")
        exception = {
            Fate.UNDECODABLE: "streams.failure.errors.Undecodable",
            Fate.INVALID: "streams.failure.errors.InvalidRecord",
        }[payment.fate]
        assert payment.raw.value is not None
        assert trace.startswith("Traceback (most recent call last):\n")
        assert trace.endswith(f"{exception}\n")
        message, reason = letter.pop("message"), letter.pop("reason")
        assert reason
        assert message.startswith(reason)
        assert letter == {
            "key": key,
            "value": payment.raw.value.hex(),
            "partition": payment.raw.partition,
            "exception": exception,
            "cause": "pydantic_core._pydantic_core.ValidationError",
            "originalTopic": PAYMENT_COMPLETED,
            "originalPartition": payment.number % 4,
            "originalOffset": payment.number // 4,
            "originalTimestamp": timestamps[key],
            "originalTimestampType": "CreateTime",
            "originalGroup": crew.group(),
            "stage": payment.fate.value,
            "disposition": "permanent",
            "attempts": "1",
        }
