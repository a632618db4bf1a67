"""The table of ClickHouse's accounts, and what is rendered from it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import pytest
import yaml
from chdb import _chdb

from millrace.settings import Settings
from millrace.stack.clickhouse.configuration import ConfigurationError, users_xml
from millrace.stores import accounts
from millrace.stores.accounts import Account, Accounts, Profile, Service

ROOT = Path(__file__).parents[2]
TABLE = accounts.read()
PASSWORDS = {account.name: f"secret-of-{account.name}" for account in TABLE.accounts}
CHDB_ONLY = {"implicit_select", "allow_introspection_functions"}


def test_every_account_has_a_setting_for_its_password() -> None:
    for account in TABLE.accounts:
        name = "" if account.is_owner else f"{account.name}_"
        assert f"clickhouse_{name}password" in Settings.model_fields
    assert set(get_args(Service)) == {a.name for a in TABLE.accounts} - {"millrace", "reader"}


def test_every_account_is_documented_and_no_other() -> None:
    page = (ROOT / "docs" / "clickhouse-access.md").read_text()
    table = page[: page.index("\n## ")]
    listed = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert listed == [account.name for account in TABLE.accounts]


def test_users_xml_holds_hashes_and_the_grants() -> None:
    text = users_xml(TABLE, PASSWORDS, "warehouse")
    assert not [password for password in PASSWORDS.values() if password in text]
    users = ElementTree.fromstring(text).find("users")  # noqa: S314  our own text
    assert users is not None
    assert {user.tag for user in users} == {"default", *PASSWORDS}
    grants = [grant.text for grant in users.findall("loader/grants/query")]
    assert any("ON warehouse.*" in str(grant) for grant in grants)
    assert "REVOKE SELECT(user_id) ON analytics.sessions" in [
        grant.text for grant in users.findall("reader/grants/query")
    ]


def test_an_account_without_a_password_is_left_out_and_the_owner_must_have_one() -> None:
    text = users_xml(TABLE, {"millrace": "x"}, "millrace")
    assert "<loader>" not in text
    with pytest.raises(ConfigurationError, match="MILLRACE_CLICKHOUSE_PASSWORD is empty"):
        users_xml(TABLE, {"loader": "x"}, "millrace")


def test_an_unknown_profile_is_named() -> None:
    odd = Accounts(
        profiles={"default": Profile()},
        accounts=(Account(name="ann", purpose="", profile="gone", grants=()),),
    )
    with pytest.raises(ConfigurationError, match="account ann: no profile 'gone'"):
        users_xml(odd, {"ann": "x"}, "millrace")


@pytest.mark.parametrize("on_cluster", ["", "ON CLUSTER main"])
def test_the_sql_for_other_servers_is_clickhouses(on_cluster: str) -> None:
    statements = TABLE.statements(PASSWORDS, "millrace", on_cluster)
    assert not [s for s in statements for password in PASSWORDS.values() if password in s]
    engine = _chdb.connect(":memory:")
    for statement in statements:
        literal = statement.replace("\\", "\\\\").replace("'", "\\'")
        engine.query(f"SELECT formatQuery('{literal}')", "TSV")  # raises on what it can't parse
    engine.close()
    made = {s.split()[-1] for s in statements if s.startswith("REVOKE") and "ALL ON *.*" in s}
    assert made == PASSWORDS.keys() - {"millrace"}


def test_compose_has_the_same_profile() -> None:
    path = ROOT / "deploy" / "compose" / "clickhouse-users.xml"
    profile = ElementTree.parse(path).find("profiles/default")  # noqa: S314  our own file
    assert profile is not None
    expected = TABLE.profiles["default"].settings | TABLE.profiles["millrace"].settings
    assert {setting.tag: setting.text for setting in profile} == {
        name: str(value) for name, value in expected.items() if name not in CHDB_ONLY
    }


PERSONAL = {"user_id", "properties", "device_info", "geo_location"}


def test_no_mart_shows_a_person_to_the_reader() -> None:
    for path in sorted((ROOT / "dbt" / "models" / "marts").rglob("*__models.yml")):
        for model in yaml.safe_load(path.read_text())["models"]:
            columns = {column["name"] for column in model.get("columns", [])}
            hidden = set(TABLE.personal_columns.get(f"analytics.{model['name']}", ()))
            assert columns & PERSONAL == hidden, f"{model['name']}: see accounts.yaml"
