"""Where no more files can be opened, that is what is said, whatever it was that failed for it."""

from __future__ import annotations

import base64
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.requests import REQUEST

from streams.database.trouble import said
from streams.failure import open_files
from streams.failure.errors import BrokerUnreachable, DependencyUnavailable
from streams.failure.open_files import BESIDE_KAFKA, OpenFiles, met_shortage, shortage
from streams.kafka.clients import connect
from streams.notify.letter import Letter
from streams.notify.smtp import SmtpSender
from streams.notify.webhook import WebhookSender
from streams.platform.api import PlatformApi
from streams.settings import KafkaSettings, NotificationSettings, PlatformSettings
from streams.settings.platform import Sink

INFINITE = resource.RLIM_INFINITY


@pytest.fixture(autouse=True)
def _nothing_met() -> Iterator[None]:
    open_files._MET.at = float("-inf")
    yield
    open_files._MET.at = float("-inf")


@contextmanager
def no_file_left() -> Iterator[None]:
    """Leave this process no file to open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- naming ------------------------------------------------------------------------------------------


def test_nothing_is_said_while_files_can_be_opened() -> None:
    assert shortage() == ""
    assert shortage(ValueError("no")) == ""


def test_that_no_file_can_be_opened_is_seen_by_trying() -> None:
    with no_file_left():
        said = shortage()
    assert said.startswith("too many open files: this process may have 200 open, connections included, and has")


def test_what_an_error_came_from_is_looked_at_and_kept_in_mind_for_a_moment() -> None:
    error = ConnectionError("no broker answers")
    error.__cause__ = OSError(24, "Too many open files")
    assert met_shortage(error)
    assert "too many open files" in shortage(), "by now there may be a file again"
    open_files._MET.at -= 11
    assert shortage() == ""


def test_a_machine_that_has_no_file_left_is_told_from_a_process_that_may_not_have_more() -> None:
    assert "this machine has as many files open as its kernel allows" in shortage(OSError(23, "Too many open files"))


def test_other_errors_of_the_system_are_none() -> None:
    assert not met_shortage(ConnectionRefusedError(111, "Connection refused"))
    assert not met_shortage(sqlite3.OperationalError("unable to open database file"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["address", "name"])
async def test_kafka_is_not_said_to_be_away(host: str) -> None:
    expected = pytest.raises(BrokerUnreachable, match=f"no connection to {host}:9: too many open files")
    with no_file_left(), expected:
        await connect(KafkaSettings(bootstrap_servers=f"{host}:9"), seconds=2)


def test_the_database_is_not_said_to_be_broken(tmp_path: Path) -> None:
    file = tmp_path / "db"
    file.touch()
    with no_file_left():
        with pytest.raises(sqlite3.OperationalError, match="unable to open database file") as raised:
            sqlite3.connect(file)
        assert said(raised.value).startswith("too many open files")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["address", "name"])
async def test_neither_the_platform_nor_a_mail_server_nor_a_customer_is_blamed(
    host: str,
) -> None:
    settings = NotificationSettings(webhook_private=True, smtp_host=host, smtp_port=9, smtp_security="none")
    api = PlatformApi(PlatformSettings(sink=Sink.HTTP, api_url=f"http://{host}:9/orders"))
    webhook, mail = WebhookSender(settings), SmtpSender(settings)
    secret = base64.b64encode(bytes(24)).decode()
    for asking in (
        api.post("1", b"{}"),
        webhook.send(f"http://{host}:9/", secret, REQUEST),
        mail.send("1", "ann@shop.example", Letter("Your order", "Thank you", "<p>Thank you</p>")),
    ):
        with no_file_left(), pytest.raises(DependencyUnavailable, match="too many open files"):
            await asking
    await api.close()
    await webhook.close()


# -- the limit ---------------------------------------------------------------------------------------


class Limit:
    """The limit of a process that is not this one."""

    def __init__(self, soft: int, hard: int) -> None:
        self.soft, self.hard = soft, hard
        self.files = OpenFiles(lambda: (self.soft, self.hard), self._raise)

    def _raise(self, soft: int) -> None:
        self.soft = soft


def test_a_limit_that_is_high_enough_is_left_alone_and_nothing_is_said() -> None:
    limit = Limit(1_024, 4_096)
    limit.files.expect(1_024 - BESIDE_KAFKA)
    assert (limit.soft, limit.files.verdict()) == (1_024, (True, ""))


def test_a_limit_that_is_too_low_is_raised_to_the_one_that_may_not_be_passed() -> None:
    limit = Limit(256, 4_096)
    limit.files.expect(500)
    limit.files.expect(500)
    suffices, said = limit.files.verdict()
    assert suffices
    assert said.endswith("may need 1,128 open files, connections included: the limit of 256 has been raised to 4,096")


def test_without_a_hard_limit_it_is_raised_as_far_as_is_needed() -> None:
    limit = Limit(256, INFINITE)
    limit.files.expect(1_000)
    assert limit.soft == 1_128


@pytest.mark.parametrize(("soft", "hard"), [(256, 1_024), (1_024, 1_024)])
def test_where_that_is_not_enough_it_says_how_many_it_may_need_and_what_to_raise(soft: int, hard: int) -> None:
    limit = Limit(soft, hard)
    limit.files.expect(1_000)
    suffices, said = limit.files.verdict()
    assert not suffices
    assert "may need 1,128 open files" in said
    assert "it may open 1,024. Raise its limit ('ulimit -n', systemd's LimitNOFILE=" in said


def test_a_system_that_will_not_have_it_raised_is_no_accident() -> None:
    def refuse(soft: int) -> None:
        raise ValueError("not allowed to raise maximum limit")

    files = OpenFiles(lambda: (256, 4_096), refuse)
    files.expect(1_000)
    assert files.verdict()[0] is False
