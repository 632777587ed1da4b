"""docker-compose.yml and Dockerfile, checked as far as that goes without a Docker engine.

What the Kafka image does with its environment is no guess: the program that it runs at its start is part of
Kafka's own jar, and is run here.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.engine import make_url
from support.waiting import eventually

from streams.kafka.topic_admin import TopicState, apply_topics
from streams.sandbox import Cluster
from streams.sandbox.install import install
from streams.sandbox.java import find_java
from streams.sandbox.lock import load_lock
from streams.settings import PREFIX, Settings, load_settings
from streams.topics import declared_topics

SettingsOf = Callable[[str], Settings]
ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
BROKERS = ("kafka-1", "kafka-2", "kafka-3")
OURS = ("database", "topics", "worker")
ALL = {*BROKERS, "postgres", "mail", *OURS}
# The mail server's image has these two, and no others are set: letters, and the page that shows them.
MAIL_PORT, MAIL_PAGE = 1025, 8025
# Where a broker is: in a container, a host and ports of its own; here, others.
_PLACES = (
    "node.id",
    "log.dirs",
    "controller.quorum.voters",
    "controller.listener.names",
    "inter.broker.listener.name",
    "listeners",
    "advertised.listeners",
    "listener.security.protocol.map",
)


@functools.cache
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
    return found


def environment(service: str) -> dict[str, str]:
    return {name: str(value) for name, value in services()[service]["environment"].items()}


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> SettingsOf:
    def load(service: str) -> Settings:
        for name, value in environment(service).items():
            monkeypatch.setenv(name, value)
        return load_settings()

    return load


def listeners(text: str) -> dict[str, tuple[str, int]]:
    """Take ``NAME://host:port,…`` apart."""
    found = re.findall(r"(\w+)://([\w.-]*):(\d+)", text)
    assert len(found) == text.count("://")
    return {name: (host, int(port)) for name, host, port in found}


# -- ours ------------------------------------------------------------------------------------------


def test_there_are_three_brokers_a_database_a_job_for_each_a_mail_server_and_a_worker() -> None:
    assert set(services()) == ALL


def test_our_services_know_the_database_by_what_its_own_service_says(settings_of: SettingsOf) -> None:
    theirs = environment("postgres")
    url = make_url(settings_of("worker").database.url.get_secret_value())
    assert (url.host, url.database) == ("postgres", theirs["POSTGRES_DB"])
    assert (url.username, url.password) == (theirs["POSTGRES_USER"], theirs["POSTGRES_PASSWORD"])
    assert "ports" not in services()["postgres"]


def test_the_platforms_files_are_in_a_volume_that_the_worker_may_write(settings_of: SettingsOf) -> None:
    (volume,) = services()["worker"]["volumes"]
    home = "/home/paystream"
    assert volume.split(":")[1] == f"{home}/{settings_of('worker').platform.folder}"
    assert f"--owner paystream {volume.split(':')[1]}" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_workers_send_their_letters_to_a_mail_server_of_the_file(settings_of: SettingsOf) -> None:
    there = settings_of("worker").notifications
    assert services()[there.smtp_host]["hostname"] == there.smtp_host == "mail"
    assert (there.smtp_port, there.smtp_security) == (MAIL_PORT, "none")
    assert "environment" not in services()["mail"]


def test_the_letters_can_be_looked_at_and_leave_the_port_of_a_mailbox_outside_alone() -> None:
    (published,) = services()["mail"]["ports"]
    _, outside, inside = published.split(":")
    assert int(inside) == MAIL_PAGE
    assert int(outside) != Settings().notifications.smtp_port
    assert f"http://127.0.0.1:{outside}/" in FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize("service", OURS)
def test_our_services_have_no_variables_but_settings(service: str) -> None:
    assert all(name.startswith(PREFIX) for name in environment(service))


@pytest.mark.parametrize("service", OURS)
def test_our_services_know_every_broker_by_the_listener_inside(service: str, settings_of: SettingsOf) -> None:
    inside = [listeners(environment(broker)["KAFKA_ADVERTISED_LISTENERS"])["INTERNAL"] for broker in BROKERS]
    servers = settings_of(service).kafka.bootstrap_servers.split(",")
    assert servers == [f"{host}:{port}" for host, port in inside]


@pytest.mark.parametrize("service", OURS)
def test_topics_are_as_safe_as_three_brokers_allow(service: str, settings_of: SettingsOf) -> None:
    topics = settings_of(service).topics
    assert (topics.replication, topics.min_insync_replicas) == (3, 2)


def test_the_statistics_are_for_the_containers_alone(settings_of: SettingsOf) -> None:
    web = settings_of("worker").web
    assert (web.enabled, web.bind) == (True, "0.0.0.0")
    assert "ports" not in services()["worker"]
    probe = services()["worker"]["healthcheck"]["test"][-1]
    assert f"http://127.0.0.1:{web.port}/" in probe
    compile(probe, "healthcheck", "exec")


def test_a_worker_that_ends_is_started_again_and_has_the_time_it_needs_to_end(settings_of: SettingsOf) -> None:
    worker = services()["worker"]
    assert worker["restart"] in ("unless-stopped", "always")
    seconds = int(worker["stop_grace_period"].removesuffix("s"))
    # Its lanes' grace, their death (5 s) and leaving the group (3 s), one after another.
    assert seconds > settings_of("worker").delivery.stop_timeout + 5 + 3


def test_workers_start_when_the_topics_are_there_and_topics_when_the_brokers_are() -> None:
    done = {"condition": "service_completed_successfully"}
    assert services()["worker"]["depends_on"] == {"topics": done, "database": done}
    assert services()["database"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services()["database"]["command"] == ["database", "upgrade"]
    assert services()["topics"]["depends_on"] == {name: {"condition": "service_healthy"} for name in BROKERS}
    assert services()["topics"]["command"] == ["topics", "apply"]
    assert "restart" not in services()["topics"]


# -- the brokers -----------------------------------------------------------------------------------


def test_nothing_can_be_reached_from_outside_this_machine() -> None:
    published = [port for service in services().values() for port in service.get("ports", [])]
    assert len(published) == len([*BROKERS, "mail"])
    assert all(port.startswith("127.0.0.1:") for port in published)
    outside = [port.split(":")[1] for port in published]
    assert len(set(outside)) == len(outside)


@pytest.mark.parametrize("broker", BROKERS)
def test_a_broker_advertises_the_ports_that_it_has(broker: str) -> None:
    own = environment(broker)
    bound = listeners(own["KAFKA_LISTENERS"])
    advertised = listeners(own["KAFKA_ADVERTISED_LISTENERS"])
    assert advertised["INTERNAL"] == (broker, bound["INTERNAL"][1])
    host, port = advertised["HOST"]
    assert services()[broker]["ports"] == [f"{host}:{port}:{bound['HOST'][1]}"]
    assert own["KAFKA_CONTROLLER_LISTENER_NAMES"] not in advertised
    secured = dict(pair.split(":") for pair in own["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert secured.keys() == bound.keys()


def test_the_brokers_agree_on_who_votes_and_on_everything_but_their_places() -> None:
    voters = ",".join(
        f"{environment(broker)['KAFKA_NODE_ID']}@{services()[broker]['hostname']}:"
        f"{listeners(environment(broker)['KAFKA_LISTENERS'])['CONTROLLER'][1]}"
        for broker in BROKERS
    )
    own = {"KAFKA_NODE_ID", "KAFKA_ADVERTISED_LISTENERS"}
    shared = [{name: value for name, value in environment(broker).items() if name not in own} for broker in BROKERS]
    assert shared[0] == shared[1] == shared[2]
    assert shared[0]["KAFKA_CONTROLLER_QUORUM_VOTERS"] == voters
    assert len({environment(broker)["KAFKA_NODE_ID"] for broker in BROKERS}) == len(BROKERS)


@pytest.mark.parametrize("broker", BROKERS)
def test_a_broker_keeps_its_data_in_a_volume_of_its_own(broker: str) -> None:
    declared = yaml.safe_load(FILE.read_text(encoding="utf-8"))["volumes"]
    (volume,) = services()[broker]["volumes"]
    name, folder = volume.split(":")
    assert name == broker
    assert name in declared
    assert folder == environment(broker)["KAFKA_LOG_DIRS"]


@pytest.mark.parametrize("broker", BROKERS)
def test_a_broker_is_asked_for_its_health_by_the_listener_that_the_others_use(broker: str) -> None:
    (kind, probe) = services()[broker]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    # Compose makes one dollar of two, and the container's host name is the service's.
    host, port = listeners(environment(broker)["KAFKA_ADVERTISED_LISTENERS"])["INTERNAL"]
    assert services()[broker]["hostname"] == host
    asked = re.findall(r"--bootstrap-server (\S+)", probe)
    assert [address.replace("$$HOSTNAME", host) for address in asked] == [f"{host}:{port}"]


@pytest.mark.parametrize("broker", BROKERS)
def test_the_brokers_are_the_kafka_that_the_tests_run_on(broker: str) -> None:
    assert services()[broker]["image"] == f"apache/kafka:{load_lock().kafka}"


@dataclass(frozen=True, slots=True)
class Start:
    """What a broker's container does before Kafka itself is started, and what it said."""

    properties: dict[str, str]
    cluster_id: str
    known: set[str]
    """Every property that Kafka has."""


def start(broker: str, folder: Path) -> Start:
    """Run the image's program: it writes the properties from the variables, and formats the storage.

    For that Kafka reads all of them, checks their values, and lists every property that it knows. It would
    ignore a misspelt one.
    """
    for name in ("default", "mounted", "final", "data"):
        (folder / name).mkdir()
    for name in ("server.properties", "log4j2.yaml", "tools-log4j2.yaml"):
        (folder / "default" / name).touch()
    answer = subprocess.run(
        [find_java(), "-cp", install(), "kafka.docker.KafkaDockerWrapper", "setup",
         "--default-configs-dir", "default", "--mounted-configs-dir", "mounted", "--final-configs-dir", "final"],
        env={**environment(broker), "KAFKA_LOG_DIRS": str(folder / "data")},
        cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    said = answer.stdout + answer.stderr
    assert answer.returncode == 0, said
    (cluster_id,) = re.findall(r"^cluster\.id=(\S+)$", (folder / "data" / "meta.properties").read_text(), re.M)
    lines = (folder / "final" / "server.properties").read_text(encoding="utf-8").splitlines()
    return Start(
        dict(line.split("=", 1) for line in lines if line),
        cluster_id,
        set(re.findall(r"^\t([a-z0-9.]+) = ", said, re.M)),
    )


@pytest.mark.kafka
@pytest.mark.parametrize("broker", BROKERS)
def test_the_images_own_program_makes_a_valid_broker_of_the_variables(broker: str, tmp_path: Path) -> None:
    made = start(broker, tmp_path)
    variables = [name for name in environment(broker) if name.startswith("KAFKA_")]
    assert len(made.properties) == len(variables)
    assert made.properties.keys() <= made.known
    assert made.cluster_id == environment(broker)["CLUSTER_ID"]


@pytest.mark.kafka
@pytest.mark.deadline(180)
async def test_three_real_brokers_run_with_these_properties_and_hold_the_declared_topics(
    tmp_path: Path, settings_of: SettingsOf
) -> None:
    made = await asyncio.to_thread(start, BROKERS[0], tmp_path)
    shared = {name: value for name, value in made.properties.items() if name not in _PLACES}
    wanted = settings_of("topics")
    async with Cluster(brokers=len(BROKERS), properties=shared) as cluster:
        kafka = wanted.kafka.model_copy(update={"bootstrap_servers": cluster.bootstrap_servers})
        await apply_topics(kafka, declared_topics(wanted))

        async def all_as_declared() -> bool:  # each broker hears of a new topic in its own time
            reports = await apply_topics(kafka, declared_topics(wanted), create=False)
            return [report.state for report in reports] == [TopicState.AS_DECLARED] * len(reports)

        await eventually(all_as_declared, "the topics to be as declared on every broker")


# -- the image and the file ------------------------------------------------------------------------


def test_what_the_dockerfile_copies_is_there_and_is_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = [source for copy in copies for source in copy.split()]
    assert sorted(sources) == sorted(line[1:] for line in ignore if line.startswith("!"))
    for source in sources:
        assert (ROOT / source).exists(), f"the Dockerfile copies {source}, which does not exist"


def test_the_image_runs_paystream_and_not_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert 'ENTRYPOINT ["paystream"]' in lines
    (user,) = [line for line in lines if line.startswith("USER ")]
    assert int(user.removeprefix("USER ")) > 0
    assert not any(extra in line for line in lines for extra in ("[sandbox", "[test", "[lint"))


def test_docker_compose_itself_accepts_the_file() -> None:
    compose = find_compose()
    if compose is None:
        pytest.skip("there is neither a 'docker compose' nor a 'docker-compose' on this machine")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("COMPOSE_", "DOCKER_"))}
    answer = subprocess.run(
        [*compose, "--file", str(FILE), "config"], capture_output=True, text=True, timeout=60, env=clean
    )
    assert answer.returncode == 0, answer.stderr
    assert set(yaml.safe_load(answer.stdout)["services"]) == ALL


def find_compose() -> list[str] | None:
    """Return the command, if there is one; needs no engine that runs."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], capture_output=True, timeout=60).returncode == 0:
            return command
    return None
