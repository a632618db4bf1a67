"""The server's ``config.xml`` and ``users.xml``, made from data and checked before the start."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from pydantic import BaseModel, ConfigDict, Field

from millrace.stores.accounts import Accounts, Profile

Value = Mapping[str, "Value"] | list["Value"] | str | int | None
"""What an element holds: elements by name, the same element several times, text, or nothing."""

GIB = 1 << 30
DOOR = "once"
"""The outside authentication that lets in the session that opens the listeners, and no other."""


class ConfigurationError(ValueError):
    """The server can't be started as asked; the message says which value is off."""


class Options(BaseModel):
    """How one server runs. ``key`` encrypts its tables (AES-128, 32 hexadecimal digits)."""

    model_config = ConfigDict(frozen=True)

    path: Path
    http_port: int = Field(ge=1, le=65535)
    tcp_port: int = Field(ge=1, le=65535)
    base: str = Field("millrace", pattern=r"^\w+$", description="Name of Millrace's database.")
    key: str = Field(pattern=r"^[0-9a-f]{32}$")
    is_former: bool = Field(False, description="Whether tables lie on the plain disk, too.")
    memory: int = Field(0, ge=0, description="Most memory in bytes; 0 is 90 % of the machine's.")
    connections: int = Field(16_384, ge=64, description="Most connections to either port.")


def config_xml(options: Options, door_port: int) -> str:
    """Return ``config.xml``; whoever starts the listeners is let in at ``door_port``."""
    data = options.path / "data"
    return _document(
        {
            "display_name": "millrace",
            "log-level": "error",  # as for clickhouse-local, not logger.level
            "listen_host": "127.0.0.1",
            "http_port": options.http_port,
            "tcp_port": options.tcp_port,
            "path": f"{data}/",
            "user_files_path": f"{data}/user_files/",
            "format_schema_path": f"{data}/format_schemas/",
            "tmp_path": f"{data}/tmp/",  # noqa: S108  a folder of its own
            "users_config": "users.xml",
            "max_server_memory_usage": options.memory,
            "mark_cache_size": GIB // 2,
            "uncompressed_cache_size": GIB // 16,
            "max_concurrent_queries": 200,
            # Each connection holds a thread: those who open many and send nothing, or a byte now
            # and then, must neither take them all nor keep them.
            "max_connections": options.connections,
            "handshake_timeout_milliseconds": 10_000,
            "ignore_empty_sql_security_in_create_view_query": 0,  # the profiles say whose rights
            "keep_alive_timeout": 300,  # urllib3 and others meet a connection closed under them
            "merge_tree": {
                # Ingest's parts are large: merged a little later than by default, at half the cost.
                "merge_selector_base": 10,
                # Partitions and keys say which rows to read; statistics of columns cost inserts.
                "auto_statistics_types": None,
                "storage_policy": "encrypted",
                # Parts that were moved off the plain disk go at once.
                **({"old_parts_lifetime": 1} if options.is_former else {}),
            },
            "storage_configuration": _disks(data, options.key),
            "named_collections_storage": {
                "type": "local_encrypted",
                "path": f"{data}/named_collections/",
                "algorithm": "aes_128_ctr",
                "key_hex": options.key,
            },
            "query_log": {
                "database": "system",
                "table": "query_log",
                "partition_by": "toYYYYMM(event_date)",
                "flush_interval_milliseconds": 7500,
            },
            "access_control_improvements": {
                "users_without_row_policies_can_read_rows": "true",
                "on_cluster_queries_require_cluster_grant": "true",
                "select_from_system_db_requires_grant": "true",
                "select_from_information_schema_requires_grant": "true",
                "settings_constraints_replace_previous": "true",
                "table_engines_require_grant": "true",
            },
            "http_authentication_servers": {
                DOOR: {
                    "uri": f"http://127.0.0.1:{door_port}/",
                    "connection_timeout_ms": 5000,
                    "receive_timeout_ms": 5000,
                    "send_timeout_ms": 5000,
                    "max_tries": 1,
                }
            },
        }
    )


def _disks(data: Path, key: str) -> Value:
    """Describe the encrypted disk, which holds every part, and the plain one before it.

    A table's log of deduplication tokens lies on the first disk of its policy. On an encrypted one
    it stays in a buffer (ClickHouse 26.9), so that a killed server would forget the newest tokens;
    the plain disk is therefore first, and too narrow for any part. The server loads disks in the
    order of their names, so the one below the encrypted one must sort before it.
    """
    return {
        "disks": {
            "below": {"type": "local", "path": f"{data}/disks/below/"},
            "encrypted": {
                "type": "encrypted",
                "disk": "below",
                "path": "encrypted/",
                "algorithm": "AES_128_CTR",
                "key_hex": key,
            },
        },
        "policies": {
            "encrypted": {
                "volumes": {
                    "tokens": {"disk": "default", "max_data_part_size_bytes": 1},
                    "main": {"disk": "encrypted"},
                },
                "move_factor": 0,
            }
        },
    }


def users_xml(accounts: Accounts, passwords: Mapping[str, str], base: str) -> str:
    """Return ``users.xml`` with the accounts that have a password.

    Raises ``ConfigurationError`` when an account names a profile that there is not, or the owner
    has no password.
    """
    profiles = {name: _profile(profile) for name, profile in accounts.profiles.items()}
    users: dict[str, Value] = {"default": _door()}
    for account in accounts.accounts:
        if account.profile not in profiles:
            raise ConfigurationError(f"account {account.name}: no profile {account.profile!r}")
        if not passwords.get(account.name):
            if account.is_owner:
                raise ConfigurationError("MILLRACE_CLICKHOUSE_PASSWORD is empty")
            continue
        digest = hashlib.sha256(passwords[account.name].encode()).hexdigest()
        users[account.name] = {
            "password_sha256_hex": digest,
            "networks": {"ip": ["127.0.0.1", "::1"]},
            "profile": account.profile,
            "quota": "default",
            # The owner comes before its database does.
            "default_database": account.database or ("default" if account.is_owner else base),
            "grants": {"query": list[Value](accounts.grants(account, base))},
        }
    return _document(
        {
            "profiles": profiles,
            "quotas": {"default": None},
            "users": users,
        }
    )


def _door() -> Value:
    """Describe ``default``, as which the library's own session opens the listeners."""
    return {
        "http_authentication": {"server": DOOR, "scheme": "basic"},
        "networks": {"ip": "127.0.0.1"},
        "profile": "default",
        "quota": "default",
        "grants": {
            "query": [
                "GRANT SYSTEM LISTEN ON *.*",
                "GRANT READ ON FILE",
                "GRANT CREATE TEMPORARY TABLE ON *.*",
            ]
        },
    }


def _profile(profile: Profile) -> Value:
    described: dict[str, Value] = {"profile": profile.inherits} if profile.inherits else {}
    described |= profile.settings
    bounds: dict[str, Value] = {
        name: {"min": limit.min, "max": limit.max} for name, limit in profile.limits.items()
    }
    bounds |= {name: {"readonly": None} for name in profile.fixed}
    return described | ({"constraints": bounds} if bounds else {})


def _document(content: Value) -> str:
    root = ElementTree.Element("clickhouse")
    _fill(root, content)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _fill(parent: ElementTree.Element, content: Value) -> None:
    if isinstance(content, Mapping):
        for name, value in content.items():
            for one in value if isinstance(value, list) else [value]:
                _fill(ElementTree.SubElement(parent, name), one)
    elif content is not None:
        parent.text = str(content)
