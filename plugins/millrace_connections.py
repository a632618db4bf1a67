"""Millrace's settings with the servers that Airflow's connections name.

``./millrace up`` makes the connections (``millrace.stack.connections``). Whoever edits one in the
UI sends every task that starts afterwards to the server named there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from pydantic import SecretStr

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from millrace.settings import Settings

DECIDED_BY_US = frozenset(
    {
        "acks", "auto.offset.reset", "bootstrap.servers", "enable.auto.commit",
        "enable.auto.offset.store", "enable.idempotence", "enable.partition.eof", "group.id",
        "isolation.level", "transactional.id",
    }
)  # fmt: skip
"""Settings of Kafka clients on which exactly-once rests: the connection's are for other users."""


def settings() -> Settings:
    """Return the settings with what the connections say in place of their own.

    Raises ``airflow.exceptions.AirflowNotFoundException`` naming a connection that is missing.
    """
    from airflow.sdk import BaseHook

    from millrace.settings import Settings

    known = Settings()
    changes: dict[str, Any] = {}
    for connection_id, read in READERS.items():
        changes |= read(known, BaseHook.get_connection(connection_id))
    return known.model_copy(update=changes)


def _clickhouse(known: Settings, connection: Connection) -> dict[str, Any]:
    """Read the warehouse's address, and whom to be there.

    As long as the login is the ``operator`` of the settings, each feature has the account of its
    own. Any other does everything.
    """
    from millrace.stores import accounts, clickhouse

    scheme = "https" if connection.extra_dejson.get("secure") else "http"
    place = f"{connection.host}:{connection.port or 8123}/{connection.schema or 'default'}"
    login = (connection.login or "default", connection.password or "")
    if login == clickhouse.credentials(known, "operator"):
        user, password = clickhouse.credentials(known)
        changes: dict[str, Any] = {}
    else:
        user, password = login
        names = (account.name for account in accounts.read().accounts if not account.is_owner)
        changes = {f"clickhouse_{name}_password": SecretStr("") for name in names}
    return changes | {
        "clickhouse_url": f"{scheme}://{quote(user, safe='')}@{place}",
        "clickhouse_password": SecretStr(password),
    }


def _postgres(known: Settings, connection: Connection) -> dict[str, Any]:
    """Read the metadata's address; the extra holds parameters of libpq, such as ``sslmode``."""
    parameters = {name: value for name, value in connection.extra_dejson.items() if value != ""}
    place = f"{connection.host}:{connection.port or 5432}/{connection.schema or ''}"
    query = f"?{urlencode(parameters)}" if parameters else ""
    return {
        "postgres_url": f"postgresql://{quote(connection.login or '', safe='')}@{place}{query}",
        "postgres_password": SecretStr(connection.password or ""),
    }


def _kafka(known: Settings, connection: Connection) -> dict[str, Any]:
    """Read the brokers' addresses and all that clients need to get in (TLS, SASL, callbacks)."""
    from airflow.providers.apache.kafka.hooks.base import KafkaBaseHook

    class Configuration(KafkaBaseHook):
        """The provider's hook, whose client is what it would make clients of."""

        def _get_client(self, config: dict[str, Any]) -> dict[str, Any]:
            return config

    config: Mapping[str, Any] = Configuration(connection.conn_id).get_conn
    return {
        "kafka_bootstrap_servers": config["bootstrap.servers"],
        "kafka_config": {
            name: value for name, value in config.items() if name not in DECIDED_BY_US
        },
    }


def s3(known: Settings, connection: Connection) -> dict[str, Any]:
    """Read the object storage's address, keys and bucket."""
    extra = connection.extra_dejson
    return {
        "s3_endpoint": connection.host,
        "s3_access_key": SecretStr(connection.login or ""),
        "s3_secret_key": SecretStr(connection.password or ""),
        "s3_bucket": connection.schema or known.s3_bucket,
        "s3_region": extra.get("region") or known.s3_region,
    }


READERS: dict[str, Callable[[Settings, Connection], dict[str, Any]]] = {
    "clickhouse_default": _clickhouse,
    "postgres_default": _postgres,
    "kafka_default": _kafka,
    "s3_default": s3,
}
