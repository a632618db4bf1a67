"""A stack with data goes on when its ports, its folder or PostgreSQL's password are others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from millrace import steps
from millrace.lab import stacks
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import clickhouse, postgres
from millrace.usecases import prepare
from millrace.usecases import up as bring_up


def write(settings: Settings, country: str) -> None:
    with postgres.connect(settings) as connection:
        connection.execute(
            "INSERT INTO user_profiles (user_id, country) VALUES (7, %s) "
            "ON CONFLICT (user_id) DO UPDATE SET country = excluded.country",
            [country],
        )


def read(settings: Settings) -> str:
    """Return what ClickHouse has of the profile."""
    with clickhouse.connect(settings) as client:
        client.command("SYSTEM RELOAD DICTIONARY user_profiles")
        client.command("SYSTEM RELOAD DICTIONARY published_ranges")
        return str(client.command("SELECT dictGet('user_profiles', 'country', toUInt64(7))"))


@pytest.mark.timeout(400)
def test_other_ports_another_folder_and_another_password(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with stacks.running(home, with_airflow=False) as stack:
        write(stack.settings, "DE")
        assert read(stack.settings) == "DE"
    moved = tmp_path / "moved"
    shutil.move(home, moved)
    with stacks.port_base() as base:
        variables = {"MILLRACE_HOME": str(moved), "MILLRACE_PORT_BASE": str(base)}
        with stacks.variables(variables):
            stack = Stack(with_airflow=False)
        try:
            steps.run(bring_up.steps(stack))
            write(stack.settings, "GB")
            assert read(stack.settings) == "GB"

            with postgres.connect(stack.settings) as connection:
                connection.execute("ALTER ROLE millrace PASSWORD 'another'")
            with stacks.variables({**variables, "MILLRACE_POSTGRES_PASSWORD": "another"}):
                changed = Settings()
                prepare.show_metadata(changed)
                write(changed, "FR")
                assert read(changed) == "FR"
        finally:
            stack.shutdown()
