"""What the engine is started with: its own settings, chDB's configuration and the users."""

from __future__ import annotations

import hashlib
import hmac
import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

from pydantic import BaseModel, ConfigDict, Field, SecretStr

DEFAULT_SETTINGS: dict[str, str] = {
    # A retried insert must not count twice in a rollup that is filled by a materialized view.
    "deduplicate_blocks_in_dependent_materialized_views": "1",
    "insert_deduplicate": "1",
    # This cache of granules without a match can be wrong in ClickHouse 26.9: after a join
    # that read a part through a runtime filter, counts on the same condition miss its rows.
    "use_query_condition_cache": "0",
    # An acknowledged insert is on disk, never in a buffer.
    "async_insert": "0",
    # chDB's command-line conveniences, which a server does not have.
    "implicit_select": "0",
    "allow_introspection_functions": "0",
    # Compiled rules and dbt models can exceed the default of 256 KiB.
    "max_query_size": str(16 << 20),
    # Mutations and lightweight deletes are finished when they are acknowledged.
    "mutations_sync": "1",
    "lightweight_deletes_sync": "1",
}
"""Settings of every query unless a user, a session or a request says otherwise."""


class User(BaseModel):
    """Someone who may connect.

    ``readonly`` is ClickHouse's setting: 1 reads and may change no setting, 2 reads and may change
    settings except ``readonly``. ``row_filters`` maps tables to conditions that every read of them
    is held to, and needs ``readonly = 1``, which alone makes them hold.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.@-]*$")
    password: SecretStr = SecretStr("")
    password_sha256: str = ""
    database: str = "default"
    readonly: int = Field(0, ge=0, le=2)
    settings: dict[str, str] = {}
    row_filters: dict[str, str] = {}

    def model_post_init(self, _context: object) -> None:
        """Refuse row filters that a request could switch off."""
        if self.row_filters and self.readonly != 1:
            raise ValueError(f"user {self.name}: row_filters need readonly = 1 to hold")

    def accepts(self, password: str) -> bool:
        """Tell in constant time whether the password is this user's."""
        given = hashlib.sha256(password.encode()).hexdigest()
        known = (
            self.password_sha256
            or hashlib.sha256(self.password.get_secret_value().encode()).hexdigest()
        )
        return hmac.compare_digest(given, known)


def read_users(path: Path) -> dict[str, User]:
    """Read users from a TOML file of ``[users.NAME]`` tables with the fields of ``User``.

    Raises ``ValueError`` (``pydantic.ValidationError``, ``tomllib.TOMLDecodeError``) naming what
    does not fit.
    """
    tables = tomllib.loads(path.read_text()).get("users", {})
    return {name: User(name=name, **fields) for name, fields in tables.items()}


class EngineConfig(BaseModel):
    """How one engine runs; sizes in bytes, times in seconds."""

    path: Path
    host: str = "127.0.0.1"
    port: int = 8123
    users: dict[str, User]
    max_concurrent: int = Field(16, gt=0, description="Queries that run at once.")
    max_queued: int = Field(256, ge=0, description="Queries that wait for a place.")
    queue_seconds: float = Field(60, gt=0, description="How long one waits at most.")
    body_seconds: float = Field(
        300, gt=0, description="A client's longest stall, sending or taking."
    )
    shutdown_seconds: float = Field(20, gt=0, description="Grace for running queries at the end.")
    memory: int = Field(0, ge=0, description="Cap on the engine's memory; 0 is 90 % of the RAM.")
    fsync: bool = Field(False, description="Flush every part to the disk before acknowledging.")
    display_name: str = "millrace"

    def engine_xml(self) -> str:
        """Return chDB's configuration file.

        Parts are merged a little later than by default, since ingest's are large and merging took
        as much of the processor as loading. Statistics of columns are
        not kept: partitions and keys say which rows to read.
        """
        fsync = int(self.fsync)
        return f"""<clickhouse>
    <display_name>{escape(self.display_name)}</display_name>
    <timezone>UTC</timezone>
    <max_server_memory_usage>{self.memory}</max_server_memory_usage>
    <mark_cache_size>{512 << 20}</mark_cache_size>
    <uncompressed_cache_size>{64 << 20}</uncompressed_cache_size>
    <merge_tree>
        <merge_selector_base>10</merge_selector_base>
        <auto_statistics_types></auto_statistics_types>
        <fsync_after_insert>{fsync}</fsync_after_insert>
        <fsync_part_directory>{fsync}</fsync_part_directory>
        <min_rows_to_fsync_after_merge>{fsync}</min_rows_to_fsync_after_merge>
    </merge_tree>
</clickhouse>
"""
