from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest

from streams.failure.errors import PermanentError, SetupError
from streams.notify.letter import Letter
from streams.notify.mail import make_message
from streams.notify.smtp_answers import Fault, Step, judge
from streams.settings import NotificationSettings, load_settings

LETTER = Letter("제목", "본문\n.\n", "<p>본문</p>")
SENDER = "The shop <orders@shop.example>"


@pytest.mark.parametrize(
    ("step", "answer", "fault"),
    [
        # the sender is the same for all
        (Step.SENDER, "550 5.7.1 sender address rejected", Fault.SERVER),
        (Step.SENDER, "530 5.7.0 authentication required", Fault.SERVER),
        (Step.SENDER, "452 4.3.1 insufficient system storage", Fault.SERVER),
        (Step.SENDER, "553 5.6.7 addresses in other alphabets are not taken", Fault.LETTER),
        # a server in trouble, or one that does not want us
        (Step.RECIPIENT, "421 4.3.2 shutting down", Fault.SERVER),
        (Step.RECIPIENT, "421 goodbye", Fault.SERVER),
        (Step.RECIPIENT, "451 4.3.0 temporary lookup failure", Fault.SERVER),
        (Step.RECIPIENT, "452 4.3.1 mail system full", Fault.SERVER),
        (Step.RECIPIENT, "452 insufficient system storage", Fault.SERVER),
        (Step.RECIPIENT, "450 4.7.25 client host rejected: cannot find your hostname", Fault.SERVER),
        (Step.RECIPIENT, "450 4.1.8 <o@shop.example>: sender address rejected: domain not found", Fault.SERVER),
        (Step.RECIPIENT, "550 5.1.8 <o@shop.example>: sender address rejected: domain not found", Fault.SERVER),
        (Step.RECIPIENT, "530 5.7.0 must issue a STARTTLS command first", Fault.SERVER),
        (Step.RECIPIENT, "454 4.7.1 <a@b.example>: relay access denied", Fault.SERVER),
        (Step.RECIPIENT, "554 5.7.1 <a@b.example>: Relay access denied", Fault.SERVER),
        (Step.RECIPIENT, "550 5.7.1 unable to relay", Fault.SERVER),
        (Step.RECIPIENT, "550 relaying denied", Fault.SERVER),
        (Step.RECIPIENT, "550 5.7.8 authentication credentials invalid", Fault.SERVER),
        (Step.RECIPIENT, "503 this server requires authentication", Fault.SERVER),
        (Step.RECIPIENT, "554 5.7.1 service unavailable; client host [192.0.2.1] blocked", Fault.SERVER),
        (Step.LETTER, "421 4.3.0 closing", Fault.SERVER),
        (Step.LETTER, "451 4.3.0 queue file write error", Fault.SERVER),
        (Step.LETTER, "451 4.7.1 service unavailable - try again later", Fault.SERVER),
        (Step.LETTER, "454 throttling failure: maximum sending rate exceeded", Fault.SERVER),
        (Step.LETTER, "530 5.7.57 client not authenticated to send mail", Fault.SERVER),
        # one mailbox, for now
        (Step.RECIPIENT, "450 4.2.0 <a@b.example>: recipient address rejected: greylisted", Fault.PASSING),
        (Step.RECIPIENT, "451 4.7.1 greylisting in action, come back later", Fault.PASSING),
        (Step.RECIPIENT, "450 4.7.1 <a@b.example>: recipient address rejected: policy", Fault.PASSING),
        (Step.RECIPIENT, "451 4.7.1 Try again later", Fault.PASSING),
        (Step.RECIPIENT, "450 4.7.0 Please come back in five minutes", Fault.PASSING),
        (Step.RECIPIENT, "452 4.2.2 mailbox full", Fault.PASSING),
        (Step.RECIPIENT, "452 mailbox full, insufficient system storage for it", Fault.PASSING),
        (Step.RECIPIENT, "450 mailbox unavailable", Fault.PASSING),
        (Step.RECIPIENT, "451 local error in processing", Fault.PASSING),
        (Step.RECIPIENT, "451 4.4.3 temporary failure in name resolution", Fault.PASSING),
        (Step.RECIPIENT, "451 4.1.1 cannot verify this recipient now", Fault.PASSING),
        (Step.RECIPIENT, "452 4.3.4 message too big", Fault.PASSING),
        (Step.LETTER, "451 try later", Fault.PASSING),
        (Step.LETTER, "250 a code that is no answer to this", Fault.PASSING),
        # one address or letter, for good
        (Step.RECIPIENT, "550 5.1.1 <a@b.example>: user unknown", Fault.LETTER),
        (Step.RECIPIENT, "550 5.1.1 <relay@b.example>: user unknown", Fault.LETTER),
        (Step.RECIPIENT, "550 no such user relay@b.example", Fault.LETTER),
        (Step.RECIPIENT, "550 User unknown in relay recipient table", Fault.LETTER),
        (Step.RECIPIENT, "550 5.7.1 RESOLVER.RST.AuthRequired; authentication required", Fault.LETTER),
        (Step.RECIPIENT, "550 5.7.1 <a@b.example>: Recipient address rejected: unauthenticated senders", Fault.LETTER),
        (Step.RECIPIENT, "550 5.2.1 mailbox disabled", Fault.LETTER),
        (Step.RECIPIENT, "553 5.1.3 bad address syntax", Fault.LETTER),
        (Step.RECIPIENT, "554 5.7.1 <a@b.example>: recipient address rejected: access denied", Fault.LETTER),
        (Step.RECIPIENT, "551 user not local", Fault.LETTER),
        (Step.LETTER, "552 5.3.4 message too big", Fault.LETTER),
        (Step.LETTER, "554 5.7.1 looks like spam from an open relay", Fault.LETTER),
        (Step.LETTER, "550 5.6.0 content rejected", Fault.LETTER),
    ],
)  # fmt: skip
def test_whose_fault_a_refusal_is_follows_from_step_code_and_words(step: Step, answer: str, fault: Fault) -> None:
    code, _, text = answer.partition(" ")
    assert judge(step, int(code), text) is fault


@pytest.mark.parametrize(
    "address",
    [
        "a@x..y", "(x)@x.y", "a(b)c@x.example", "a..b@x.example", ".a@x.example", "a@.", "a@-", "a@", "@x.example",
        "", "a b@x.example", "a@x.example, b@x.example", "a@x.example\nBcc: all@x.example", "One <a@x.example>",
        "=?utf-8?q?victim=40evil.example?=@x.example", "\ud800@x.example", "[a]@x.example",
    ],
)  # fmt: skip
def test_what_two_programs_might_take_for_two_addresses_is_a_dead_letter(address: str) -> None:
    with pytest.raises(PermanentError, match="the customer's address is no e-mail address") as raised:
        make_message(SENDER, "pay-1", address, LETTER)
    assert address == "" or address not in str(raised.value)


@pytest.mark.parametrize("address", ["a'b+c@x.example", "a%b@127.0.0.1", f"{'a' * 64}@{'b' * 60}.{'c' * 60}.example"])
def test_an_address_is_written_as_it_is(address: str) -> None:
    read = message_from_bytes(make_message(SENDER, "pay-1", address, LETTER).as_bytes(), policy=default)
    assert [each.addr_spec for each in read["To"].addresses] == [address]


def test_a_letter_has_what_every_mail_needs_and_asks_for_no_answer_of_a_machine() -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=1)  # a header has no fractions
    sent = make_message(SENDER, "pay-1", "a@x.example", LETTER).as_bytes()
    read = message_from_bytes(sent, policy=default)
    assert isinstance(read, EmailMessage)
    assert before <= read["Date"].datetime <= datetime.now(timezone.utc)
    assert read["From"] == SENDER
    assert read["Subject"] == "제목"
    assert read["Auto-Submitted"] == "auto-generated"
    assert [part.get_content().split() for part in read.iter_parts()] == [["본문", "."], ["<p>본문</p>"]]


def test_a_letter_needs_no_server_that_takes_eight_bits() -> None:
    assert make_message(SENDER, "pay-1", "a@x.example", LETTER).as_bytes().isascii()


@pytest.mark.parametrize(
    "sender",
    ["The shop", "a@", "A, B <o@x.example>", "x <o@x.example", "ö@x.example", "x <o@x..y>", "x\nBcc: y <o@x.example>"],
)
def test_a_sender_that_is_no_address_ends_a_worker_with_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, sender: str
) -> None:
    monkeypatch.setenv("PAYSTREAM_NOTIFICATIONS__SENDER", sender)
    with pytest.raises(SetupError, match=r"PAYSTREAM_NOTIFICATIONS__SENDER: .*expected one address") as raised:
        load_settings()
    assert raised.value.exit_status == 78


def test_an_empty_sender_is_no_address_either() -> None:
    with pytest.raises(ValueError, match="expected one address"):
        NotificationSettings(sender="")


@pytest.mark.parametrize("sender", ["o@x.example", "<o@x.example>", '"A, B" <o@x.example>', "가게 <o@x.example>"])
def test_a_sender_is_an_address_with_or_without_a_name(sender: str) -> None:
    assert NotificationSettings(sender=sender).sender == sender


def test_a_senders_domain_of_another_alphabet_is_written_as_the_domain_name_system_has_it() -> None:
    assert NotificationSettings(sender="Bücher <o@bücher.example>").sender == "Bücher <o@xn--bcher-kva.example>"


@pytest.mark.parametrize("zone", ["Nowhere/At/All", "Europe", "../UTC", "KST+9"])
def test_a_time_zone_that_is_none_ends_a_worker_with_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("PAYSTREAM_NOTIFICATIONS__TIME_ZONE", zone)
    with pytest.raises(SetupError, match=r"PAYSTREAM_NOTIFICATIONS__TIME_ZONE: .*IANA name"):
        load_settings()


def test_the_default_waits_for_a_mail_server_end_before_a_handlers_time_out() -> None:
    found = load_settings()
    waiting = 2 * found.notifications.smtp_timeout + found.notifications.smtp_final_timeout
    assert waiting + 5 <= found.failure.handler_timeout


@pytest.mark.parametrize("host", ["smtp://mail.example", "mail.example:587", "mail example", "mail.example/", ""])
def test_a_mail_servers_host_is_a_name_alone(host: str) -> None:
    with pytest.raises(ValueError, match="the port has its own setting"):
        NotificationSettings(smtp_host=host)


@pytest.mark.parametrize("host", ["mail.example", "127.0.0.1", "::1", "fe80::1", "smtp_relay", "mailpit"])
def test_a_mail_servers_host_may_be_an_address_too(host: str) -> None:
    assert NotificationSettings(smtp_host=host).smtp_host == host


@pytest.mark.parametrize("half", [{"smtp_username": "shop"}, {"smtp_password": "secret"}])
def test_half_a_login_is_a_mistake(half: dict[str, str]) -> None:
    named = "PAYSTREAM_NOTIFICATIONS__SMTP_USERNAME and PAYSTREAM_NOTIFICATIONS__SMTP_PASSWORD"
    with pytest.raises(ValueError, match=f"{named} are needed both, or neither"):
        NotificationSettings.model_validate(half)
