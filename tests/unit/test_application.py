from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.application import Application, faust_options, rules_for
from streams.delivery import Batch
from streams.delivery.guarantee import Guaranteed
from streams.failure.backoff import FixedBackOff
from streams.failure.budget import BudgetLimits
from streams.failure.errors import SetupError
from streams.sandbox.process import free_ports
from streams.settings import PREFIX, DeliverySettings, FailureSettings, Guarantee, KafkaSettings, Settings, WebSettings

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Settings(
    app_id="shop",
    kafka=KafkaSettings(bootstrap_servers="one:9092,two:9092"),
    failure=FailureSettings(
        backoff="fixed", initial_interval=0.5, max_retries=3, pause_interval=7, dead_letter_suffix="-dlt",
        max_consecutive_dead_letters=11, max_dead_letter_share=0.25, dead_letter_window=40,
    ),
    web=WebSettings(port=6067),
)  # fmt: skip


@pytest.fixture
def app() -> Iterator[Application]:
    """An application with an event loop that is closed: Faust would make one and never close it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield Application(SETTINGS, autodiscover=False, loop=loop)
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.parametrize(
    ("setting", "finished"),
    [
        (Guarantee.EXACTLY_ONCE, Guarantee.AT_LEAST_ONCE),
        (Guarantee.AT_LEAST_ONCE, Guarantee.AT_LEAST_ONCE),
        (Guarantee.AT_MOST_ONCE, Guarantee.AT_MOST_ONCE),
    ],
)
def test_an_agent_that_emits_nothing_needs_no_transaction(
    app: Application, setting: Guarantee, finished: Guarantee
) -> None:
    app.settings = Settings(delivery=DeliverySettings(guarantee=setting))
    assert app.emits_nothing() == Guaranteed(finished, emits=False)


async def body(stream: Any) -> AsyncIterator[Batch]:
    async for batch in stream:
        yield batch


# -- sources -------------------------------------------------------------------------------------------


def test_every_agent_that_reads_batches_has_a_source_and_a_group_of_its_own(app: Application) -> None:
    app.agent(app.batches("payment.completed"), name="shop.agents.payments")(body)
    app.agent(app.batches("payment.completed", "returns"), name="shop.agents.ledger")(body)
    app.agent(app.channel(), name="shop.agents.other")(body)
    sources = app.make_sources()
    assert [(each.group, each.topics) for each in sources] == [
        ("shop.payments", ("payment.completed",)),
        ("shop.ledger", ("payment.completed", "returns")),
    ]
    assert app.sources == sources


def test_all_sources_of_a_worker_share_its_breakers(app: Application) -> None:
    for name in ("one", "two"):
        app.agent(app.batches("payment.completed"), name=name)(body)
    assert [each._breakers is app.breakers for each in app.make_sources()] == [True, True]


def test_two_agents_that_share_what_they_read_are_refused_by_name(app: Application) -> None:
    shared = app.batches("payment.completed")
    app.agent(shared, name="shop.agents.payments")(body)
    app.agent(shared, name="shop.agents.ledger")(body)
    with pytest.raises(SetupError, match=r"agents payments and ledger share one app\.batches\(…\): give each its own"):
        app.make_sources()


def test_a_worker_with_two_such_agents_ends_with_78_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "sharing.py").write_text(
        "from streams.app import app\n"
        "shared = app.batches('payment.completed')\n"
        "for name in ('payments', 'ledger'):\n"
        "    @app.agent(shared, name=name)\n"
        "    async def body(stream):\n"
        "        async for batch in stream:\n"
        "            yield batch\n"
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    ended = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "streams.app", "worker", "--web-port", str(free_ports(1)[0])],
        env={**inherited, "PAYSTREAM_AGENTS": "sharing", "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 78
    assert "agents payments and ledger share one" in ended.stderr
    assert "Traceback" not in ended.stderr


# -- settings ------------------------------------------------------------------------------------------


def test_records_are_treated_as_the_settings_say() -> None:
    rules = rules_for("shop.payments", SETTINGS)
    assert rules.group == "shop.payments"
    assert rules.policy.backoff == FixedBackOff(0.5, 3)
    assert rules.policy.pause_interval == 7
    assert rules.dead_letter_suffix == "-dlt"
    assert rules.budget == BudgetLimits(consecutive=11, share=0.25, window=40)
    assert rules.max_output_bytes == SETTINGS.topics.max_message_bytes


def test_an_agent_that_reads_dead_letters_writes_none() -> None:
    assert rules_for("shop.payments", SETTINGS, dead_letters=False).dead_letter_suffix is None


def test_faust_has_no_settings_but_ours() -> None:
    options = faust_options(SETTINGS)
    assert options["broker"] == ["kafka://one:9092", "kafka://two:9092"]
    assert (options["web_bind"], options["web_port"]) == ("127.0.0.1", 6067)
    assert options["env_prefix"].startswith(PREFIX)
    assert not options["topic_allow_declare"]


def test_fausts_own_consumer_and_producer_do_not_start(app: Application) -> None:
    boot: Any = app.boot_strategy
    assert [*boot.kafka_consumer(), *boot.kafka_producer(), *boot.kafka_conductor(), *boot.tables()] == []


def test_without_tables_no_directory_is_made(app: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app._create_directories()
    assert list(tmp_path.iterdir()) == []


def test_what_an_agent_needs_and_is_not_installed_stops_a_worker_and_no_other_command(tmp_path: Path) -> None:
    (tmp_path / "pyarrow").mkdir()
    (tmp_path / "pyarrow" / "__init__.py").write_text("raise ModuleNotFoundError('no pyarrow', name='pyarrow')")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    settings = {"PAYSTREAM_AGENTS": "agents.platform", "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "faust", "-A", "streams.app", *arguments], env={**inherited, **settings},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    listed = run("agents")
    assert (listed.returncode, "platform.orders" in listed.stdout) == (0, True)
    worker = run("worker", "--web-port", str(free_ports(1)[0]))
    assert worker.returncode == 78
    assert "agents.platform needs pyarrow: pip install '.[parquet]'" in worker.stderr
    assert "Traceback" not in worker.stderr
