"""What the one at the keyboard sees, and what a supervisor does, when a broker does not let us in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from support.kafka import recreate_declared_topics
from support.secured import PASSWORD, USER, Secured
from support.worker import Worker

from streams.commands.dead_letters import dead_letters
from streams.commands.platform import platform
from streams.commands.publish import publish
from streams.commands.topics import topics
from streams.failure.errors import ExitStatus
from streams.settings import Settings

ORDERS = Path(__file__).parents[3] / "examples" / "online_retail_2010-12-01.csv"


def settings(broker: Secured, password: str = "wrong") -> dict[str, str]:
    return {
        "KAFKA__BOOTSTRAP_SERVERS": broker.cluster.address("SASLTLS"),
        "KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA__SSL_CAFILE": str(broker.authority.certificate),
        "KAFKA__SASL_USERNAME": USER,
        "KAFKA__SASL_PASSWORD": password,
    }


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (topics, ["check"]),
        (topics, ["apply"]),
        (dead_letters, ["list"]),
        (dead_letters, ["show", "payment.completed.DLT", "0", "0"]),
        (publish, [str(ORDERS)]),
        (platform, ["check"]),
    ],
    ids=lambda each: each.name if isinstance(each, click.Command) else each[0],
)
def test_every_command_says_in_a_line_what_is_wrong(
    broker: Secured, command: click.Command, arguments: Sequence[str]
) -> None:
    environment = {f"PAYSTREAM_{name}": value for name, value in settings(broker).items()}
    done = CliRunner().invoke(command, list(arguments), env=environment)
    assert done.exit_code == ExitStatus.CONFIGURATION
    (line,) = done.output.splitlines()
    assert line.startswith(f"paystream: the broker at {broker.cluster.address('SASLTLS')} refuses the password")
    assert "PAYSTREAM_KAFKA__SASL_PASSWORD" in line
    assert "sandbox" not in line


async def test_a_worker_ends_at_its_start_and_says_why_in_a_line(broker: Secured, tmp_path: Path) -> None:
    await recreate_declared_topics(broker.cluster.bootstrap_servers, Settings())
    given = settings(broker)
    address = given.pop("KAFKA__BOOTSTRAP_SERVERS")
    worker = Worker("refused", "refused", address, tmp_path, ["agents.payments"], given)
    try:
        assert await worker.start().ended() == ExitStatus.CONFIGURATION
        (line,) = [line for line in worker.said().splitlines() if "PAYSTREAM_KAFKA__SASL_PASSWORD" in line]
        assert f"the broker at {address} refuses the password" in line
        assert "Traceback" not in worker.said()
        assert "Unable" not in worker.said()
        assert PASSWORD not in worker.said()
        await worker.start(KAFKA__SASL_PASSWORD=PASSWORD).ready()
    finally:
        worker.kill()
