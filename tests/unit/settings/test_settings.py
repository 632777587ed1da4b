from __future__ import annotations

from pathlib import Path

import pytest

from streams.delivery.outbox import ENVELOPE_BYTES
from streams.failure.errors import ExitStatus, SetupError
from streams.settings import Guarantee, Settings, WebSettings, load_settings, settings


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch) -> _Refusal:
    return _Refusal(monkeypatch)


class _Refusal:
    """Sets variables and returns what is said against them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def of(self, **variables: str) -> str:
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)
        with pytest.raises(SetupError) as caught:
            load_settings()
        assert caught.value.exit_status is ExitStatus.CONFIGURATION
        return str(caught.value)


def test_without_any_variable_the_defaults_hold() -> None:
    found = load_settings()
    assert found == Settings()
    assert found.app_id == "paystream"
    assert found.kafka.bootstrap_servers == "localhost:9092"
    assert found.delivery.guarantee is Guarantee.EXACTLY_ONCE
    assert found.failure.dead_letter_suffix == ".DLT"
    assert found.agents[0] == "agents.payments"
    assert found.database.url.get_secret_value() == "sqlite:///paystream.db"


@pytest.mark.parametrize(
    ("variable", "text", "section", "field", "expected"),
    [
        ("KAFKA__BOOTSTRAP_SERVERS", "a:9092,b:9092", "kafka", "bootstrap_servers", "a:9092,b:9092"),
        ("KAFKA__CLIENT_ID", "123", "kafka", "client_id", "123"),
        ("KAFKA__SSL_CAFILE", "/etc/ca.pem", "kafka", "ssl_cafile", Path("/etc/ca.pem")),
        ("KAFKA__DEADLINE", "2.5", "kafka", "deadline", 2.5),
        ("DELIVERY__GUARANTEE", "at_least_once", "delivery", "guarantee", Guarantee.AT_LEAST_ONCE),
        ("DELIVERY__MAX_BATCH_RECORDS", "10", "delivery", "max_batch_records", 10),
        ("FAILURE__BACKOFF", "fixed", "failure", "backoff", "fixed"),
        ("FAILURE__DEAD_LETTER_SUFFIX", "-dlt", "failure", "dead_letter_suffix", "-dlt"),
        ("TOPICS__PARTITIONS", "12", "topics", "partitions", 12),
        ("WEB__ENABLED", "false", "web", "enabled", False),
    ],
)
def test_a_variable_sets_its_setting(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, section: str, field: str, expected: object
) -> None:
    monkeypatch.setenv(f"PAYSTREAM_{variable}", text)
    assert getattr(getattr(load_settings(), section), field) == expected


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS", "")
    monkeypatch.setenv("PAYSTREAM_DELIVERY__CONCURRENCY", "")
    assert load_settings() == Settings()


@pytest.mark.parametrize("text", ["shop.orders,shop.mail", " shop.orders , shop.mail ", "shop.orders,shop.mail,"])
def test_agents_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("PAYSTREAM_AGENTS", text)
    assert load_settings().agents == ("shop.orders", "shop.mail")


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSTREAM_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("PAYSTREAM_KAFKA__SASL_USERNAME", "shop")
    monkeypatch.setenv("PAYSTREAM_KAFKA__SASL_PASSWORD", "hunter2")
    found = load_settings()
    assert "hunter2" not in repr(found) + str(found) + found.model_dump_json()
    assert found.kafka.sasl_password is not None
    assert found.kafka.sasl_password.get_secret_value() == "hunter2"


@pytest.mark.parametrize(
    ("variable", "text", "way_out"),
    [
        ("DELIVERY__GUARANTEE", "exactly-once", "'exactly_once', 'at_least_once' or 'at_most_once'"),
        ("DELIVERY__MAX_BATCH_RECORDS", "0", "greater than or equal to 1"),
        ("DELIVERY__CONCURRENCY", "many", "valid integer"),
        ("KAFKA__SECURITY_PROTOCOL", "TLS", "'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"),
        ("KAFKA__SESSION_TIMEOUT", "0", "greater than 0"),
        ("KAFKA__DEADLINE", "nan", "greater than 0"),
        ("FAILURE__MULTIPLIER", "0.5", "greater than or equal to 1"),
        ("FAILURE__BACKOFF", "linear", "'fixed' or 'exponential'"),
        ("TOPICS__PARTITIONS", "-1", "greater than or equal to 1"),
        ("WEB__PORT", "70000", "less than or equal to 65535"),
        ("WEB__ENABLED", "perhaps", "valid boolean"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable_and_the_way_out(
    refusal: _Refusal, variable: str, text: str, way_out: str
) -> None:
    said = refusal.of(**{f"PAYSTREAM_{variable}": text})
    (line,) = [line for line in said.splitlines() if f"PAYSTREAM_{variable}:" in line]
    assert way_out in line


def test_all_wrong_values_are_named_at_once(refusal: _Refusal) -> None:
    said = refusal.of(PAYSTREAM_WEB__PORT="x", PAYSTREAM_TOPICS__PARTITIONS="0")
    assert "PAYSTREAM_WEB__PORT: " in said
    assert "PAYSTREAM_TOPICS__PARTITIONS: " in said


def test_a_wrong_value_is_not_repeated_because_it_may_be_a_secret(refusal: _Refusal) -> None:
    assert "hunter2" not in refusal.of(PAYSTREAM_KAFKA__SASL_MECHANISM="hunter2")


@pytest.mark.parametrize(
    ("variables", "way_out"),
    [
        (
            {"PAYSTREAM_KAFKA__SECURITY_PROTOCOL": "SASL_SSL", "PAYSTREAM_KAFKA__SASL_USERNAME": "shop"},
            "PAYSTREAM_KAFKA__SECURITY_PROTOCOL=SASL_SSL needs PAYSTREAM_KAFKA__SASL_USERNAME and "
            "PAYSTREAM_KAFKA__SASL_PASSWORD",
        ),
        (
            {"PAYSTREAM_KAFKA__SSL_KEYFILE": "/etc/key.pem"},
            "PAYSTREAM_KAFKA__SSL_KEYFILE is of no use without PAYSTREAM_KAFKA__SSL_CERTFILE",
        ),
        (
            {"PAYSTREAM_KAFKA__CONSUMER_REQUEST_TIMEOUT": "6", "PAYSTREAM_KAFKA__REBALANCE_TIMEOUT": "6"},
            "PAYSTREAM_KAFKA__CONSUMER_REQUEST_TIMEOUT must be longer than PAYSTREAM_KAFKA__REBALANCE_TIMEOUT",
        ),
        (
            {"PAYSTREAM_TOPICS__REPLICATION": "1", "PAYSTREAM_TOPICS__MIN_INSYNC_REPLICAS": "2"},
            "PAYSTREAM_TOPICS__MIN_INSYNC_REPLICAS is larger than PAYSTREAM_TOPICS__REPLICATION",
        ),
        (
            {"PAYSTREAM_NOTIFICATIONS__SMTP_USERNAME": "shop"},
            "PAYSTREAM_NOTIFICATIONS__SMTP_USERNAME and PAYSTREAM_NOTIFICATIONS__SMTP_PASSWORD are needed both",
        ),
        (
            {"PAYSTREAM_PLATFORM__SINK": "http"},
            "PAYSTREAM_PLATFORM__SINK=http needs PAYSTREAM_PLATFORM__API_URL",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused_by_the_names_of_their_variables(
    refusal: _Refusal, variables: dict[str, str], way_out: str
) -> None:
    (line,) = refusal.of(**variables).splitlines()[1:]
    assert line.startswith(f"  {way_out}")


def test_what_is_wrong_is_said_in_our_words_and_not_in_those_of_the_library(refusal: _Refusal) -> None:
    said = refusal.of(PAYSTREAM_NOTIFICATIONS__TIME_ZONE="Nowhere", PAYSTREAM_TOPICS__MIN_INSYNC_REPLICAS="2")
    assert "PAYSTREAM_NOTIFICATIONS__TIME_ZONE: no time zone known here" in said
    assert "Value error" not in said


@pytest.mark.parametrize(
    "servers", ["kafka-1", "kafka-1:", "kafka-1:x", "kafka-1:0", "kafka-1:99999", ":9092", "PLAINTEXT://kafka-1:9092",
                "::1", "kafka-1:9092,", "kafka-1:9092;kafka-2:9092", "kafka-1:9092,kafka-2"],
)  # fmt: skip
def test_an_address_of_brokers_without_its_port_is_refused(refusal: _Refusal, servers: str) -> None:
    said = refusal.of(PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS=servers)
    assert "PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS: expected host:port" in said


@pytest.mark.parametrize("servers", ["127.0.0.1:9092", "kafka-1:9092, kafka-2:9092", "[::1]:9092", "kafka_1.shop:1"])
def test_an_address_of_brokers_is_taken_without_blanks(monkeypatch: pytest.MonkeyPatch, servers: str) -> None:
    monkeypatch.setenv("PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS", servers)
    assert load_settings().kafka.bootstrap_servers == servers.replace(" ", "")


@pytest.mark.parametrize(("bind", "host"), [("127.0.0.1", "127.0.0.1"), ("::", "[::]"), ("::1", "[::1]")])
def test_an_address_to_listen_on_is_written_as_a_url_wants_it(bind: str, host: str) -> None:
    assert WebSettings(bind=bind).host == host


@pytest.mark.parametrize("section", ["KAFKA", "DELIVERY", "FAILURE", "TOPICS", "WEB"])
def test_an_unknown_key_of_a_section_is_refused_by_name(refusal: _Refusal, section: str) -> None:
    assert f"PAYSTREAM_{section}__BOOTSTRAP: " in refusal.of(**{f"PAYSTREAM_{section}__BOOTSTRAP": "x"})


@pytest.mark.parametrize(
    "variable", ["PAYSTREAM_KAKFA__BOOTSTRAP_SERVERS", "PAYSTREAM_APPID", "PAYSTREAM_KAFKA_BOOTSTRAP_SERVERS"]
)
def test_a_misspelt_variable_is_refused_by_name(refusal: _Refusal, variable: str) -> None:
    assert variable in refusal.of(**{variable: "kafka-1:9092"})


@pytest.mark.parametrize("variable", ["PAYSTREAM_CRASH_AT", "PAYSTREAM_FAUST_DEBUG"])
def test_the_variables_of_others_with_our_prefix_are_let_be(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "after_send")
    assert load_settings() == Settings()


@pytest.mark.parametrize("text", ["kafka-1:9092", "5"])
def test_a_section_that_is_no_mapping_is_refused_by_name(refusal: _Refusal, text: str) -> None:
    assert "PAYSTREAM_KAFKA" in refusal.of(PAYSTREAM_KAFKA=text)


def test_topics_too_small_for_any_output_are_refused(refusal: _Refusal) -> None:
    said = refusal.of(PAYSTREAM_TOPICS__MAX_MESSAGE_BYTES=str(ENVELOPE_BYTES))
    assert "PAYSTREAM_TOPICS__MAX_MESSAGE_BYTES: " in said


def test_settings_cannot_be_changed() -> None:
    found = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        found.app_id = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        found.kafka.client_id = "other"  # type: ignore[misc]


def test_the_process_reads_its_settings_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = settings()
    monkeypatch.setenv("PAYSTREAM_APP_ID", "other")
    assert settings() is first
