"""docker-compose.yml, checked without Docker: its schema, and everything that it names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from dotenv import dotenv_values

from millrace.settings import Settings
from millrace.stack import airflow, secrets

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "tests" / "data" / "compose-spec.json"
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = sorted(set(SERVICES) - {"airflow-setup"})
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(:[-?][^}]*)?\}")

each_service = pytest.mark.parametrize("name", sorted(SERVICES))


def test_fits_the_compose_specification() -> None:
    jsonschema.validate(COMPOSE, json.loads(SCHEMA.read_text()))


def test_the_schema_refuses_what_compose_would() -> None:
    broken = {"services": {"kafka": {"image": "apache/kafka:4.3.1", "prots": ["1:1"]}}}
    with pytest.raises(jsonschema.ValidationError, match="prots"):
        jsonschema.validate(broken, json.loads(SCHEMA.read_text()))


def test_variables_are_those_of_the_example() -> None:
    example = (ROOT / ".env.example").read_text()
    offered = dict(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE))
    used = {match[1]: match[2] or "" for match in VARIABLE.finditer(TEXT)}
    assert used.keys() == offered.keys()
    for name, how in used.items():
        if offered[name]:
            assert how == f":-{offered[name]}", f"{name} has another default in .env.example"
        else:
            assert how.startswith(":?"), f"{name} is a secret and must be asked for"


def test_every_secret_that_is_made_for_an_embedded_stack_is_asked_for() -> None:
    elsewhere = {
        "MILLRACE_CLICKHOUSE_KEY",  # the image's tables are not encrypted
        "MILLRACE_INGEST_KEY",  # ./millrace keys add makes keys
        "MILLRACE_AIRFLOW_PASSWORD", "MILLRACE_AIRFLOW_DATABASE_PASSWORD",
        "MILLRACE_AIRFLOW_FERNET_KEY", "MILLRACE_AIRFLOW_SECRET_KEY",  # under Airflow's own names
    }  # fmt: skip
    asked = SERVICES["airflow-setup"]["environment"].keys()
    assert set(secrets.NAMES) - asked == elsewhere


def test_passwords_of_airflow_may_hold_anything(tmp_path: Path) -> None:
    """The part of the script that writes them, run as it is."""
    script = (ROOT / "deploy" / "compose" / "set-up.sh").read_text()
    command = re.search(r"^python -c .*?PASSWORDS_FILE\"$", script, re.DOTALL | re.MULTILINE)
    assert command is not None
    file, awkward = tmp_path / "passwords.json", 'a"b\\c%s'
    subprocess.run(
        ["bash", "-euc", command[0].replace("python", sys.executable, 1)],
        env={
            "AIRFLOW_PASSWORD": awkward,
            "MILLRACE_AIRFLOW_QUERY_PASSWORD": "x",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(file),
        },
        check=True,
    )
    assert json.loads(file.read_text()) == {"admin": awkward, "query": "x"}


def test_holds_no_secret() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD$|SECRET|FERNET", name):
                assert VARIABLE.fullmatch(value), f"{name} must come from .env"


@each_service
def test_image_is_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"[a-z0-9./-]+:[A-Za-z0-9][A-Za-z0-9._-]*\d[A-Za-z0-9._-]*", image), image


def test_versions_are_those_of_the_embedded_stack() -> None:
    pom = (ROOT / "include/millrace/stack/kafka/pom.xml").read_text()
    version = re.search(r"kafka_2\.13</artifactId>\s*<version>([\d.]+)<", pom)
    assert version is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version[1]}"


@each_service
def test_ports_are_on_loopback(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", port), port


@each_service
def test_mounts_exist(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source = mount.split(":")[0]
        if source.startswith("."):
            assert (ROOT / source).is_file(), f"{name} mounts {source}, which is not here"
        else:
            assert source in COMPOSE["volumes"], f"{name} mounts {source}, which is not declared"


@each_service
def test_has_limits_and_known_dependencies(name: str) -> None:
    assert SERVICES[name]["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]


@pytest.mark.parametrize("name", LASTING)
def test_is_watched_and_restarted(name: str) -> None:
    assert "healthcheck" in SERVICES[name]
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", [name for name in LASTING if name.startswith("airflow")])
def test_airflow_knows_the_command(name: str) -> None:
    from airflow.cli.cli_config import core_commands

    program, command = SERVICES[name]["command"]
    assert program == "airflow"
    assert command in {known.name for known in core_commands}


def test_tasks_hear_of_the_end_of_their_scheduler_and_can_say_how_they_ended() -> None:
    """Docker signals a container's first process alone, and kills all after ten seconds."""
    service = SERVICES["airflow-scheduler"]
    assert service["init"] is True
    assert service["environment"]["TINI_KILL_PROCESS_GROUP"] == "1"
    lacking = SERVICES["airflow-setup"]["environment"].keys() - service["environment"].keys()
    assert lacking == {"AIRFLOW_PASSWORD"}, "what is merged may not be lost"
    assert int(service["stop_grace_period"].removesuffix("s")) >= 60
    # what it depends on is stopped after it
    assert {"airflow-setup", "airflow-api-server"} <= service["depends_on"].keys()


@pytest.mark.parametrize("name", ["backup-gateway", "wal-archiver"])
def test_millrace_knows_the_command(name: str) -> None:
    from typer.main import get_command

    from millrace.cli.main import app

    *program, group, command = SERVICES[name]["command"]
    assert program == ["python", "-m", "millrace.cli"]
    assert command in get_command(app).commands[group].commands  # type: ignore[attr-defined]


def test_settings_exist() -> None:
    import cosmos.settings

    names = {f"MILLRACE_{field.upper()}" for field in Settings.model_fields}
    described = files("airflow") / "config_templates" / "config.yml"
    sections = yaml.safe_load(described.read_text())
    shared = dotenv_values(ROOT / SERVICES["airflow-setup"]["env_file"])
    for name in [*SERVICES["airflow-setup"]["environment"], *shared]:
        if name.startswith("MILLRACE_"):
            assert name in names
        elif name.startswith("AIRFLOW__"):
            _, section, key = name.lower().split("__")
            if section == "cosmos":
                assert hasattr(cosmos.settings, key), name
            else:
                assert key in sections[section]["options"], name


PLACES = {
    "AIRFLOW__API__HOST", "AIRFLOW__API__PORT", "AIRFLOW__LOGGING__BASE_LOG_FOLDER",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT",
}  # fmt: skip
"""Where Airflow listens and logs: in a container of its own the defaults will do."""


def test_airflow_is_set_as_in_the_embedded_stack(tmp_path: Path) -> None:
    names = ("FERNET_KEY", "SECRET_KEY", "DATABASE_PASSWORD")
    secrets = {f"MILLRACE_AIRFLOW_{name}": "x" for name in names}
    embedded = airflow.environment(Settings(home=tmp_path), secrets)
    service = SERVICES["airflow-setup"]
    shared = dotenv_values(ROOT / service["env_file"])
    own = {name: value for name, value in service["environment"].items() if "AIRFLOW__" in name}
    assert shared.keys().isdisjoint(own), "one of the two would be overridden"
    assert {name: embedded[name] for name in shared} == shared
    settings = {name for name in embedded if "AIRFLOW__" in name}
    assert shared.keys() | own.keys() == settings - PLACES


def test_addresses_name_services_and_their_ports() -> None:
    environment = SERVICES["airflow-setup"]["environment"]
    listening = {"kafka": 9092, "clickhouse": 8123, "postgres": 5432, "redis": 6379, "minio": 9000}
    listening |= {"airflow-api-server": 8080, "backup-gateway": 9010, "query-api": 18091}
    for name, value in environment.items():
        for host, port in re.findall(r"(?:@|//|^)([a-z-]+):(\d+)", value):
            assert listening[host] == int(port), f"{name}: {value}"


def test_setup_runs_what_exists() -> None:
    from typer.main import get_command

    from millrace.cli.main import app

    program, script = SERVICES["airflow-setup"]["command"]
    assert program == "bash"
    text = (ROOT / script).read_text()
    for command in re.findall(r"millrace\.cli (\w+)", text):
        assert command in get_command(app).commands  # type: ignore[attr-defined]
    for path in re.findall(r"\bdeploy/\S+", text):
        assert (ROOT / path).is_file()


def test_dockerfile_copies_what_exists() -> None:
    build = SERVICES["airflow-setup"]["build"]
    text = (ROOT / build["context"] / build["dockerfile"]).read_text()
    for source in re.findall(r"^COPY (\S+)", text, re.MULTILINE):
        assert (ROOT / source).exists()
    assert re.search(r"^FROM python:3\.1[1-3]-slim$", text, re.MULTILINE)
