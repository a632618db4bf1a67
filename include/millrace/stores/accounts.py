"""Who may do what in ClickHouse: the accounts of ``include/sql/clickhouse/accounts.yaml``.

The embedded server is started with them (``millrace.stack.clickhouse``); on a server of others they
are made by SQL, for each account whose password is set.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from millrace.settings import REPOSITORY

TABLE = REPOSITORY / "include" / "sql" / "clickhouse" / "accounts.yaml"

Service = Literal["loader", "dbt", "quality", "exporter", "backup"]
"""Accounts of Millrace's own processes; people have ``operator`` and ``reader``."""


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


@cache
def read() -> Accounts:
    """Return the table of accounts.

    Raises ``pydantic.ValidationError`` naming the entry that doesn't fit.
    """
    return Accounts.model_validate(yaml.safe_load(TABLE.read_text()))
