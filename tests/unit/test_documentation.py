"""What the documents say is so: commands, settings, links, tables and the code they quote.

docs/configuration.md is written from the settings: ``UPDATE_DOCS=1 pytest tests/unit/test_documentation.py``.
"""

from __future__ import annotations

import enum
import html
import itertools
import os
import re
import shlex
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click
import pytest
import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from sqlalchemy.engine import make_url

from streams.failure.errors import ExitStatus, SetupError
from streams.settings import PREFIX, Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "docs" / "configuration.md"
OPERATIONS = ROOT / "docs" / "operations.md"
README = ROOT / "README.md"
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)
# For tests of the delivery itself, so no setting; and a family of Faust's.
_NO_SETTINGS = ("PAYSTREAM_CRASH_AT", "PAYSTREAM_FAUST_")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


# -- docs/configuration.md ---------------------------------------------------------------------------


def leaves(model: type[BaseModel], prefix: str = PREFIX) -> Iterator[tuple[str, FieldInfo]]:
    """Yield each setting of a model that is no section, with its variable."""
    for name, field in model.model_fields.items():
        if section_of(field) is None:
            yield prefix + name.upper(), field


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def all_settings() -> dict[str, FieldInfo]:
    """Return every setting, by its environment variable."""
    found = dict(leaves(Settings))
    for name, field in Settings.model_fields.items():
        section = section_of(field)
        if section is not None:
            found.update(leaves(section, f"{PREFIX}{name.upper()}__"))
    return found


def type_text(field: FieldInfo) -> str:
    """Say in words what may be written."""
    kind: Any = field.annotation
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = [each for each in get_args(kind) if each is not type(None)]
    if get_origin(kind) is Literal:
        return " ".join(f"`{choice}`" for choice in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " ".join(f"`{choice.value}`" for choice in kind)
    if get_origin(kind) is tuple:
        return "list"
    names = {bool: "`true` `false`", int: "integer", float: "number", Path: "path", SecretStr: "secret", str: "text"}
    return names[kind] + "".join(bounds(field))


def bounds(field: FieldInfo) -> Iterator[str]:
    for limit in field.metadata:
        for attribute, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
            value = getattr(limit, attribute, None)
            if value is not None:
                yield f" {sign} {value}"


def default_text(value: object) -> str:
    """Write a default as it would be written into the variable; nothing if there is none."""
    if value is None:
        return ""
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return f"{value:g}" if isinstance(value, float) and value != int(value) else str(value).removesuffix(".0")


def render() -> str:
    """Write docs/configuration.md."""
    parts = [
        "# Configuration\n\n"
        "<!-- Written from streams/settings by tests/unit/test_documentation.py: change it there. -->\n\n"
        "Every setting is an environment variable. Durations are in seconds, sizes in bytes. A variable that is set "
        "and empty counts\nas not set. One that is wrong, or that does not exist, ends the start with status 78 and "
        "its name. Between levels there are\n**two** underscores.\n\n"
        "Faust's own settings, where somebody needs one, are read with the prefix `PAYSTREAM_FAUST_`; those here win."
        "\n\n## General\n\n" + table(leaves(Settings))
    ]
    for name, field in Settings.model_fields.items():
        section = section_of(field)
        if section is not None:
            purpose = (section.__doc__ or "").replace("``", "`").strip()
            parts.append(
                f"\n## {name.capitalize()}\n\n{purpose}\n\n" + table(leaves(section, f"{PREFIX}{name.upper()}__"))
            )
    return "".join(parts)


def table(rows: Iterator[tuple[str, FieldInfo]]) -> str:
    lines = ["| variable | type | default | meaning |", "|---|---|---|---|"]
    for variable, field in rows:
        default = default_text(field.get_default())
        meaning = html.escape(field.description or "", quote=False).replace("|", "\\|")
        lines.append(f"| `{variable}` | {type_text(field)} | {f'`{default}`' if default else ''} | {meaning} |")
    return "\n".join(lines) + "\n"


def test_the_page_of_settings_is_that_of_the_settings() -> None:
    if os.environ.get("UPDATE_DOCS"):
        CONFIGURATION.write_text(render(), encoding="utf-8")
    written = CONFIGURATION.read_text(encoding="utf-8")
    assert written == render(), "run UPDATE_DOCS=1 pytest tests/unit/test_documentation.py, and look at the difference"


@pytest.mark.parametrize("variable", all_settings())
def test_every_setting_says_what_it_means(variable: str) -> None:
    assert all_settings()[variable].description


def test_every_default_on_that_page_can_be_written_into_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = re.findall(r"^\| `(\w+)` \| .+? \| (?:`(.*?)`)? \| ", CONFIGURATION.read_text(encoding="utf-8"), re.M)
    assert {variable for variable, _ in rows} == all_settings().keys()
    for variable, default in rows:
        monkeypatch.setenv(variable, default)
    assert load_settings() == Settings()


# -- commands and settings that are named --------------------------------------------------------------


def code(text: str) -> Iterator[str]:
    """Yield every line of code in a page: of its shell blocks, its indented blocks, and its inline code."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    for language, block in fences:
        if language == "sh":
            yield from block.splitlines()
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    yield from re.findall(r"^ {4}(.+)$", rest, re.M)
    yield from re.findall(r"`([^`\n]+)`", rest)


def named(page: Path, program: str) -> list[list[str]]:
    """Return the arguments of every call of a program on a page."""
    found = []
    for line in code(page.read_text(encoding="utf-8")):
        words = shlex.split(re.sub(r"\s+#.*$", "", line)) if line.lstrip().startswith((program, PREFIX)) else []
        words = list(itertools.dropwhile(lambda word: re.match(r"[A-Z_]+=", word), words))
        if words and words[0] == program:
            found.append(words[1:])
    return found


@pytest.fixture(scope="module")
def commands() -> click.Group:
    from faust.cli.faust import cli

    from streams.commands.register import register_commands

    register_commands()
    return cli


def ours(commands: click.Group) -> dict[str, click.Command]:
    return {
        name: command
        for name, command in commands.commands.items()
        if (command.callback and command.callback.__module__.startswith("streams."))
    }


@each_page
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for arguments in named(page, "make"):
        assert set(arguments) <= targets, f"make {' '.join(arguments)}"


@each_page
def test_every_paystream_command_that_is_named_exists_and_takes_its_options(page: Path, commands: click.Group) -> None:
    for arguments in named(page, "paystream"):
        command, rest = resolved(commands, arguments)
        used = {word.partition("=")[0] for word in rest if word.startswith("-")}
        assert used <= options_of(command), f"paystream {' '.join(arguments)}"


def resolved(commands: click.Group, arguments: list[str]) -> tuple[click.Command, list[str]]:
    """Follow the names of commands; return the last one, and what is left of the arguments."""
    command: click.Command = commands
    rest = arguments
    while isinstance(command, click.Group) and rest:
        assert rest[0] in command.commands, f"there is no command: paystream {' '.join(arguments)}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def options_of(command: click.Command) -> set[str]:
    return {option for each in command.params for option in (*each.opts, *each.secondary_opts)}


def test_the_table_of_commands_has_all_of_ours(commands: click.Group) -> None:
    rows = re.findall(r"^\| `paystream ([^`]+)` \|", README.read_text(encoding="utf-8"), re.M)
    listed = {" ".join(itertools.takewhile(lambda word: re.match(r"[a-z]", word), row.split())) for row in rows}
    for name, command in ours(commands).items():
        wanted = [f"{name} {sub}" for sub in command.commands] if isinstance(command, click.Group) else [name]
        assert set(wanted) <= listed, f"README.md's table of commands lacks one of {wanted}"


def test_the_options_in_the_table_of_commands_are_their_commands(commands: click.Group) -> None:
    rows = re.findall(r"^\| `paystream ([^`]+)` \| (.+) \|$", README.read_text(encoding="utf-8"), re.M)
    assert rows
    for call, meaning in rows:
        command, _ = resolved(commands, call.split())
        assert set(re.findall(r"`(-[\w-]+)", meaning)) <= options_of(command), call


@each_page
def test_every_setting_that_is_named_exists(page: Path) -> None:
    for variable in re.findall(rf"\b{PREFIX}[A-Z_]+", page.read_text(encoding="utf-8")):
        assert variable in all_settings() or variable.startswith(_NO_SETTINGS), variable


# -- the manifests for Kubernetes -----------------------------------------------------------------------


def manifests(kind: str) -> dict[str, Any]:
    """Return the page's manifests of a kind, by name."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", OPERATIONS.read_text(encoding="utf-8"), re.M | re.S)
    every = [each for block in blocks for each in yaml.safe_load_all(block)]
    return {each["metadata"]["name"]: each for each in every if each["kind"] == kind}


def pod(kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = manifests(kind)[name]["spec"]["template"]["spec"]
    return found


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield every container, with its pod."""
    for kind, name in (("Job", "paystream-prepare"), ("StatefulSet", "paystream")):
        spec = pod(kind, name)
        yield from ((container, spec) for container in [*spec.get("initContainers", []), *spec["containers"]])


def environment(container: dict[str, Any]) -> dict[str, str]:
    """Return the variables that a container would have; the first pod's, where they differ."""
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        ((kind, reference),) = source.items()
        found |= {
            "configMapRef": lambda name: manifests("ConfigMap")[name]["data"],
            "secretRef": lambda name: manifests("Secret")[name]["stringData"],
        }[kind](reference["name"])
    for variable in container.get("env", []):
        assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
        found[variable["name"]] = "paystream-0"
    return found


def settings_in(container: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment(container).items():
        assert isinstance(value, str), f"Kubernetes takes text only: {name}"
        assert name.startswith(PREFIX)
        monkeypatch.setenv(name, value)
    return load_settings()


def test_workers_on_kubernetes_have_a_database_a_folder_a_mail_server_and_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (worker,) = pod("StatefulSet", "paystream")["containers"]
    chosen = settings_in(worker, monkeypatch)
    default = Settings.model_construct()
    assert chosen.database.url != default.database.url
    assert chosen.platform.folder != default.platform.folder
    assert make_url(chosen.database.url.get_secret_value()).get_backend_name() == "postgresql"
    assert chosen.notifications.smtp_host != default.notifications.smtp_host
    assert chosen.notifications.smtp_security != "none"
    assert chosen.kafka.instance_id == "paystream-0"


def test_passwords_on_kubernetes_are_in_the_secret_alone() -> None:
    secrets = {name for name, field in all_settings().items() if "SecretStr" in str(field.annotation)}
    assert manifests("Secret")["paystream"]["stringData"].keys() & secrets
    assert not manifests("ConfigMap")["paystream"]["data"].keys() & secrets


def test_the_platforms_files_are_on_a_volume_that_workers_on_kubernetes_share(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = pod("StatefulSet", "paystream")
    (worker,) = spec["containers"]
    (mount,), (volume,) = worker["volumeMounts"], spec["volumes"]
    assert settings_in(worker, monkeypatch).platform.folder == mount["mountPath"]
    assert mount["name"] == volume["name"]
    claim = manifests("PersistentVolumeClaim")[volume["persistentVolumeClaim"]["claimName"]]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    user = f"USER {spec['securityContext']['fsGroup']}"
    assert user in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()


def test_a_job_on_kubernetes_makes_topics_and_tables_where_the_workers_look_for_them() -> None:
    (worker,) = pod("StatefulSet", "paystream")["containers"]
    job = pod("Job", "paystream-prepare")
    steps = [*job["initContainers"], *job["containers"]]
    assert [step["args"] for step in steps] == [["topics", "apply"], ["database", "upgrade"]]
    assert all(environment(step).items() <= environment(worker).items() for step in steps)


def test_kubernetes_adds_no_variables_of_its_own_which_would_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(spec["enableServiceLinks"] is False for _, spec in containers())
    monkeypatch.setenv("PAYSTREAM_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(SetupError, match="PAYSTREAM_SERVICE_HOST"):
        load_settings()


def test_every_container_on_kubernetes_runs_a_command_that_exists(commands: click.Group) -> None:
    for container, _ in containers():
        _, rest = resolved(commands, container["args"])
        assert container["args"] != rest


def test_kubernetes_probes_the_port_that_the_pages_have(monkeypatch: pytest.MonkeyPatch) -> None:
    (worker,) = pod("StatefulSet", "paystream")["containers"]
    web = settings_in(worker, monkeypatch).web
    assert (web.enabled, web.bind) == (True, "0.0.0.0")
    assert {worker[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")} == {web.port}


# -- tables, links and quoted code ---------------------------------------------------------------------


def test_the_readme_has_every_exit_status() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", README.read_text(encoding="utf-8"), re.M)
    assert rows == [(str(status.value), status.name) for status in ExitStatus]


def test_operations_has_every_exit_status() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) `(\w+)` \|", text, re.M)
    assert rows == [(str(status.value), status.name) for status in ExitStatus]


@each_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not re.match(r"https?://|mailto:", target):
            path = target.partition("#")[0]
            assert (page.parent / path).exists(), f"{page.name} links to {target}, which does not exist"


@each_page
def test_python_on_a_page_is_quoted_from_a_file_that_is_linked_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    sources = [(page.parent / link).read_text(encoding="utf-8") for link in re.findall(r"\]\(([^)\s]+\.py)\)", text)]
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S):
        assert any(block in source for source in sources), f"no linked file holds:\n{block}"


def test_the_agent_of_the_readme_is_the_whole_file_but_its_head() -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)
    source = (ROOT / "examples" / "own_agent" / "loyalty.py").read_text(encoding="utf-8")
    head = source.removesuffix(block)
    assert head != source
    assert not re.search(r"^(async )?def |^class ", head, re.M)


def test_the_example_of_an_own_agent_passes_its_tests_as_its_readers_would_run_them() -> None:
    """In a process of its own: an agent registers with the application, which the other tests share."""
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT / "examples" / "own_agent", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "4 passed" in answer.stdout


@each_page
def test_a_page_speaks_of_the_project_alone(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"/work/|/root/|/tmp/", text)
