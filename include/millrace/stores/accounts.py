"""Who may do what in ClickHouse: the accounts of ``include/sql/clickhouse/accounts.yaml``.

The embedded server is started with them (``millrace.stack.clickhouse``); on a server of others they
are made by SQL, for each account whose password is set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from millrace.settings import REPOSITORY
from millrace.stores import sql

TABLE = REPOSITORY / "include" / "sql" / "clickhouse" / "accounts.yaml"

Service = Literal[
    "loader", "ingestion", "query", "dbt", "quality", "alerts", "exporter", "backup", "operator"
]
"""Accounts that Millrace's own code connects with; ``reader`` is for people and dashboards."""


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limit(_Data):
    """The least and the most that a statement may set a setting to."""

    min: int
    max: int


class Profile(_Data):
    """Settings of an account's statements, and how far a statement may change them."""

    inherits: str = ""
    settings: dict[str, int | str] = {}
    limits: dict[str, Limit] = {}
    fixed: tuple[str, ...] = ()

    def clauses(self) -> list[str]:
        """Return the settings as SQL has them: value, bounds, and whether they may change."""
        found = []
        for name in [*self.settings, *(n for n in self.fixed if n not in self.settings)]:
            value = self.settings.get(name)
            text = f" = {value!r}" if value is not None else ""
            if limit := self.limits.get(name):
                text += f" MIN {limit.min} MAX {limit.max}"
            found.append(f"{name}{text}{' CONST' if name in self.fixed else ''}")
        return found


class Account(_Data):
    """One account: what it is for, and what it may.

    ``grants`` and ``revokes`` are what follows GRANT and REVOKE in ClickHouse's SQL, without the
    grantee; ``revokes`` take back parts of what ``grants`` give.
    """

    name: str = Field(pattern=r"^[a-z]+$")
    purpose: str
    profile: str
    database: str = ""
    is_owner: bool = False
    grants: tuple[str, ...]
    revokes: tuple[str, ...] = ()
    hides_personal_columns: bool = False


class Accounts(_Data):
    """The whole table; ``personal_columns`` names columns by table (``database.table``)."""

    profiles: dict[str, Profile]
    accounts: tuple[Account, ...]
    personal_columns: dict[str, tuple[str, ...]] = {}

    def grants(self, account: Account, base: str) -> list[str]:
        """Return an account's grants and, after them, what is taken back, as whole statements."""
        given = [f"GRANT {grant}" for grant in account.grants]
        given += [f"REVOKE {part}" for part in account.revokes]
        if account.hides_personal_columns:
            given += [
                f"REVOKE SELECT({', '.join(columns)}) ON {table}"
                for table, columns in self.personal_columns.items()
            ]
        return [statement.replace("{base}", base) for statement in given]

    def statements(self, passwords: Mapping[str, str], base: str, on_cluster: str) -> list[str]:
        """Return the SQL that makes the accounts with a password, and their profiles, on a server.

        ``passwords`` are by account. Each account ends with exactly the rights of the table.
        """
        lines = []
        for name, profile in self.profiles.items():
            parent = [f"INHERIT '{_profile(profile.inherits)}'"] if profile.inherits else []
            lines.append(
                sql.render(
                    "clickhouse/profile.sql",
                    profile=_profile(name),
                    on_cluster=on_cluster,
                    clauses=[*profile.clauses(), *parent],
                )
            )
        for account in self.accounts:
            if account.is_owner or account.name not in passwords:
                continue
            digest = hashlib.sha256(passwords[account.name].encode()).hexdigest()
            options = (
                f"IDENTIFIED WITH sha256_hash BY '{digest}' "
                f"DEFAULT DATABASE {account.database or base} "
                f"SETTINGS PROFILE '{_profile(account.profile)}'"
            )
            lines += [
                f"CREATE USER IF NOT EXISTS {account.name} {on_cluster} {options}",
                f"ALTER USER {account.name} {on_cluster} {options}",
                f"REVOKE {on_cluster} ALL ON *.* FROM {account.name}",
            ]
            for statement in self.grants(account, base):
                verb, _, rest = statement.partition(" ")
                grantee = "TO" if verb == "GRANT" else "FROM"
                lines.append(f"{verb} {on_cluster} {rest} {grantee} {account.name}")
        return lines


def _profile(name: str) -> str:
    return "millrace" if name == "millrace" else f"millrace_{name}"


@cache
def read() -> Accounts:
    """Return the table of accounts.

    Raises ``pydantic.ValidationError`` naming the entry that doesn't fit.
    """
    return Accounts.model_validate(yaml.safe_load(TABLE.read_text()))
