"""Every setting of Millrace, in one place.

A setting is read, first match wins, from an environment variable ``MILLRACE_<NAME>``, from
``$MILLRACE_HOME/secrets.env`` (written by ``./millrace up``, mode 0600), from
``$MILLRACE_HOME/millrace.toml``, or from the defaults below. Addresses of servers default to the
embedded stack on loopback; setting one (``MILLRACE_CLICKHOUSE_URL=…``) points Millrace at a real
server and changes nothing else.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

_CHECKOUT = Path(__file__).resolve().parents[2]
_IS_CHECKOUT = (_CHECKOUT / "include" / "sql").is_dir()
REPOSITORY = _CHECKOUT if _IS_CHECKOUT else Path(str(files("millrace") / "_project"))
"""The checkout that this package belongs to (the folder that holds ``dags/`` and ``dbt/``), or else
what a wheel holds of one: SQL, migrations, seeds, models, expectations and runbooks."""


MOST_RETENTION_DAYS = 2_200
"""ClickHouse's ``DateTime``, which tables expire by, ends in 2106 and then begins again: kept for
longer, an event of 2099, the last year that is accepted, would expire at once."""
_MOST_RETENTION = (
    f"{MOST_RETENTION_DAYS:,} days at most, since ClickHouse's DateTime ends in 2106 "
    "and events are accepted up to 2099"
)

PREFIX = "MILLRACE_"
_OTHERS = re.compile(r"dbt_\w+|airflow_\w+|clickhouse_key")
"""Variables that are no settings: secrets of an embedded stack's servers, and what dbt is told."""


FORMER = {
    "alert_catch_up_minutes": "the last 60 minutes that were missed are judged",
    "alert_threads": "two statements of alert rules run at once",
    "ingest_batch_bytes": "64 MiB close a micro-batch; MILLRACE_INGEST_BATCH_ROWS makes it smaller",
}
"""Names that were settings once, and what holds now."""


def _stranger(name: str, known: set[str], prefix: str) -> str:
    """Say that a name is no setting, and which one may be meant or what holds in its place."""
    near = difflib.get_close_matches(name.lower(), known, 1)
    full = prefix + (name.upper() if prefix else name)
    if holds := FORMER.get(name.lower()):
        return f"{full} is no longer a setting ({holds}): take it out"
    hint = prefix + (near[0].upper() if prefix else near[0]) if near else ""
    return f"{full} is no setting{f'; {hint} is' if hint else ', and none has a name like it'}"


def _reached(host: str) -> str:
    """Return where a program on this machine reaches what listens at a host."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104


def default_home() -> Path:
    """Return the folder that keeps a stack's data, logs and secrets."""
    if "MILLRACE_HOME" in os.environ:
        return Path(os.environ["MILLRACE_HOME"]).resolve()
    beside = REPOSITORY if _IS_CHECKOUT else Path.home()
    return (beside / ".millrace").resolve()


class MissingFolderError(RuntimeError):
    """Something needs a folder that only a checkout has; the message says how to get one."""

    def __init__(self, folder: str) -> None:
        super().__init__(
            f"{folder}/ is missing: this is the package alone, and {folder} is in a checkout. Get "
            "one (git clone) and run ./millrace in it, or install it from there with pip install "
            "--editable ."
        )


def of_checkout(folder: str) -> Path:
    """Return a folder that no wheel holds. Raises ``MissingFolderError`` without a checkout."""
    path = REPOSITORY / folder
    if not path.is_dir():
        raise MissingFolderError(folder)
    return path


class MissingSettingError(ValueError):
    """A setting that something needs has no value, and no embedded stack has made one."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not set. Set it, or let ./millrace up make a stack.")


class SettingsFileError(ValueError):
    """``millrace.toml`` can't be read; the message says which, where and why."""


class _TomlFile(TomlConfigSettingsSource):
    """``millrace.toml``, whose errors name the file."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        try:
            return super()._read_file(file_path)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsFileError(f"{file_path} is no TOML: {error}") from error


class Settings(BaseSettings):
    """The settings of one Millrace stack.

    Raises ``pydantic.ValidationError`` when a value does not fit, naming the setting.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    home: Path = Field(default_factory=default_home, description="Data, logs and secrets.")
    port_base: PositiveInt = Field(18080, description="First of the 20 ports of an embedded stack.")

    clickhouse_url: str = Field("", description="ClickHouse over HTTP, with user and database.")
    clickhouse_password: SecretStr = Field(SecretStr(""), description="Password for ClickHouse.")
    clickhouse_loader_password: SecretStr = Field(SecretStr(""), description="For `loader`.")
    clickhouse_ingestion_password: SecretStr = Field(SecretStr(""), description="For `ingestion`.")
    clickhouse_query_password: SecretStr = Field(SecretStr(""), description="For `query`.")
    clickhouse_dbt_password: SecretStr = Field(SecretStr(""), description="For `dbt`.")
    clickhouse_quality_password: SecretStr = Field(SecretStr(""), description="For `quality`.")
    clickhouse_alerts_password: SecretStr = Field(SecretStr(""), description="For `alerts`.")
    clickhouse_exporter_password: SecretStr = Field(SecretStr(""), description="For `exporter`.")
    clickhouse_backup_password: SecretStr = Field(SecretStr(""), description="For `backup`.")
    clickhouse_operator_password: SecretStr = Field(SecretStr(""), description="For `operator`.")
    clickhouse_reader_password: SecretStr = Field(SecretStr(""), description="For `reader`.")
    clickhouse_cluster: str = Field("", description="Cluster name; set, tables are replicated.")
    postgres_url: str = Field("", description="PostgreSQL database of Millrace (not Airflow's).")
    postgres_password: SecretStr = Field(SecretStr(""), description="Password for PostgreSQL.")
    kafka_bootstrap_servers: str = Field("", description="Kafka brokers, comma separated.")
    kafka_config: dict[str, Any] = Field(
        {}, repr=False, description="More settings of Kafka clients, such as TLS and SASL; JSON."
    )
    redis_url: str = Field("", description="Redis, the hot cache.")
    s3_endpoint: str = Field("", description="Object storage (MinIO or any S3), as a URL.")
    s3_region: str = Field("us-east-1", description="Region of the object storage.")
    s3_access_key: SecretStr = Field(SecretStr("millrace"), description="Access key.")
    s3_secret_key: SecretStr = Field(SecretStr(""), description="Secret key.")
    s3_bucket: str = Field("millrace", description="Bucket for exports, archive and reports.")
    s3_backup_bucket: str = Field("millrace-backups", description="Bucket for backups.")
    export_hash_key: SecretStr = Field(SecretStr(""), description="Key that hashes personal data.")
    export_link_hours: PositiveInt = Field(
        24, le=168, description="How long a link to an export works; S3 knows none of over a week."
    )
    backup_endpoint: str = Field("", description="Encrypting gateway to the backup bucket, a URL.")
    backup_key: SecretStr = Field(SecretStr(""), description="Encrypts backups; keep a copy safe.")
    backup_copy_bucket: str = Field("", description="Second bucket that gets every backup too.")
    backup_retention_days: PositiveInt = Field(90, description="How long backups are kept.")
    backup_log_seconds: PositiveInt = Field(
        10, le=30, description="How often PostgreSQL's log is shipped, and so what losing it loses."
    )
    drill_clickhouse_url: str = Field("", description="Empty server for drills; none: embedded.")
    airflow_url: str = Field("", description="Airflow as people open it, for links.")
    airflow_api_url: str = Field("", description="Airflow as the query API reaches it.")
    airflow_query_user: str = Field("query", description="Whom the query API is in Airflow.")
    airflow_query_password: SecretStr = Field(SecretStr(""), description="Its password there.")

    events_topic: str = Field("events", description="Topic of the default source.")
    dead_letter_topic: str = Field("events.dead_letter", description="Topic for what is rejected.")
    topic_partitions: PositiveInt = Field(6, description="Partitions of a topic we create.")
    topic_replication: PositiveInt = Field(1, description="Replication factor; production 3.")
    topic_retention_hours: PositiveInt = Field(168, description="Retention of a topic we create.")

    raw_retention_days: PositiveInt = Field(
        7, le=MOST_RETENTION_DAYS, description=f"How long raw_events is kept; {_MOST_RETENTION}."
    )
    events_retention_days: PositiveInt = Field(
        90, le=MOST_RETENTION_DAYS, description=f"How long events are kept; {_MOST_RETENTION}."
    )
    duplicate_window_hours: PositiveInt = Field(24, description="Window of duplicate detection.")

    ingest_tasks: PositiveInt = Field(2, description="Mapped load tasks per source.")
    ingest_run_seconds: PositiveFloat = Field(
        600, le=1800, description="Seconds from one ingest run to the next, which takes over."
    )
    ingest_batch_rows: PositiveInt = Field(350_000, description="Rows that close a micro-batch.")
    ingest_linger_ms: PositiveInt = Field(200, description="Age that closes a micro-batch.")
    ingest_lease_seconds: PositiveFloat = Field(30, description="A worker's lease on partitions.")
    message_max_bytes: PositiveInt = Field(1 << 20, description="A longer message is rejected.")

    ingestion_host: str = Field("127.0.0.1", description="Where the ingestion API listens.")
    ingestion_workers: PositiveInt = Field(2, description="Processes of the ingestion API.")
    ingestion_kafka_seconds: PositiveFloat = Field(
        2, description="Seconds without an answer of Kafka after which events go to the spool."
    )
    ingestion_spool_bytes: PositiveInt = Field(
        8 << 30, description="The most that the ingestion API's spool may hold."
    )
    ingest_key: SecretStr = Field(
        SecretStr(""), description="Key of the default source, for commands that send by HTTP."
    )
    ingest_hash_key: SecretStr = Field(
        SecretStr(""), description="Key that makes numbers of user ids that are none."
    )

    query_host: str = Field("127.0.0.1", description="Where the query API listens.")
    query_workers: PositiveInt = Field(1, description="Processes of the query API.")
    query_url: str = Field("", description="The query API as people open it.")
    query_key: SecretStr = Field(
        SecretStr(""), description="Seals the keys with which the query API signs."
    )
    query_origins: list[str] = Field(
        [], description="Origins whose pages may ask the query API with a token; JSON."
    )
    query_proxies: NonNegativeInt = Field(
        0, description="Proxies in front of the query API that say in X-Forwarded-For who asks."
    )
    query_requests_per_minute: PositiveInt = Field(
        30_000, description="Requests a minute that one user or token may send to the query API."
    )
    oidc_issuer: str = Field("", description="OpenID provider where people sign in, as a URL.")
    oidc_client_id: str = Field("", description="What that provider knows the query API as.")
    oidc_client_secret: SecretStr = Field(SecretStr(""), description="With which secret.")
    oidc_scopes: str = Field("openid profile email", description="Scopes that are asked for.")
    oidc_name_claim: str = Field("preferred_username", description="Claim that names the user.")
    oidc_role_claim: str = Field("groups", description="Claim that tells the role: `a.b` nests.")
    oidc_roles: dict[str, str] = Field({}, description="Roles by that claim's values; JSON.")
    oidc_default_role: str = Field("", description="Role of everybody else; none: no entry.")
    admin_password: SecretStr = Field(
        SecretStr(""), description="Password that the first admin gets."
    )
    query_api_url: str = Field("", description="The query API as reports reach it.")
    report_token: SecretStr = Field(
        SecretStr(""), description="Token with which reports ask the query API."
    )
    report_retention_days: PositiveInt = Field(400, description="How long reports are kept.")

    sandbox_rows: PositiveInt = Field(200_000, description="Events in an analyst's sandbox.")
    sandbox_days: PositiveInt = Field(3, description="Days that a sandbox's events are from.")

    alert_delay_seconds: PositiveFloat = Field(8, description="A minute's age when it is judged.")
    dashboard_url: str = Field("", description="Dashboard as people open it, for links.")
    runbook_url: str = Field("", description="Where docs/runbooks is served, for links.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources as the module's docstring says."""
        home = default_home()
        return (
            init_settings,
            env_settings,
            DotEnvSettingsSource(settings_cls, env_file=home / "secrets.env"),
            _TomlFile(settings_cls, toml_file=home / "millrace.toml"),
        )

    @classmethod
    def origins(cls) -> dict[str, str]:
        """Return where each setting that has not its default is read from: what wins now."""
        first = InitSettingsSource(cls, init_kwargs={})
        places = ("", "environment", "secrets.env", "millrace.toml")
        sources = cls.settings_customise_sources(cls, first, EnvSettingsSource(cls), first, first)
        found: dict[str, str] = {}
        for place, source in zip(places, sources, strict=True):
            for name in source():
                found.setdefault(name, place)
        return found

    @classmethod
    def strangers(cls) -> list[str]:
        """Say, a sentence each, which variables and entries of ``millrace.toml`` are no setting.

        Nobody would read them, so each is misspelt. Raises ``SettingsFileError``.
        """
        known = set(cls.model_fields)
        path = default_home() / "millrace.toml"
        entries = _TomlFile(cls, toml_file=path).toml_data
        said = [f"{path}: {_stranger(name, known, '')}" for name in entries if name not in known]
        for variable in sorted(os.environ):
            name = variable.removeprefix(PREFIX).lower()
            if variable.startswith(PREFIX) and name not in known and not _OTHERS.match(name):
                said.append(_stranger(name, known, PREFIX))
        return said

    def port(self, name: str) -> int:
        """Return the port of an embedded server, by its name in ``PORTS``."""
        return self.port_base + PORTS[name]

    def api_url(self, name: str) -> str:
        """Return where a program on this machine reaches an API of ours: ``ingestion``, ``query``.

        An API that listens everywhere is reached on loopback.
        """
        return f"http://{_reached(getattr(self, f'{name}_host'))}:{self.port(f'{name}_api')}"

    @property
    def ingestion_grpc_address(self) -> str:
        """Where a program on this machine reaches the ingestion API by gRPC."""
        return f"{_reached(self.ingestion_host)}:{self.port('ingestion_grpc')}"

    def is_embedded(self, url: str, server: str) -> bool:
        """Tell whether an address is that of the embedded stack's server of a name."""
        return urlsplit(url).netloc.rpartition("@")[2] == f"127.0.0.1:{self.port(server)}"

    def model_post_init(self, _context: object) -> None:
        """Fill the addresses that were not set with those of the embedded stack."""
        host = "127.0.0.1"
        self.clickhouse_url = (
            self.clickhouse_url or f"http://millrace@{host}:{self.port('clickhouse')}/millrace"
        )
        self.postgres_url = (
            self.postgres_url or f"postgresql://millrace@{host}:{self.port('postgres')}/millrace"
        )
        self.kafka_bootstrap_servers = (
            self.kafka_bootstrap_servers or f"{host}:{self.port('kafka')}"
        )
        self.redis_url = self.redis_url or f"redis://{host}:{self.port('redis')}/0"
        self.s3_endpoint = self.s3_endpoint or f"http://{host}:{self.port('s3')}"
        self.backup_endpoint = (
            self.backup_endpoint or f"http://{host}:{self.port('backup_gateway')}"
        )
        airflow = f"http://{host}:{self.port('airflow')}"
        self.airflow_url = self.airflow_url or airflow
        self.airflow_api_url = self.airflow_api_url or airflow
        query = self.api_url("query")
        self.query_url = self.query_url or query
        self.query_api_url = self.query_api_url or query

    @cached_property
    def sql_folder(self) -> Path:
        """The folder that holds every ``.sql`` file, by store."""
        return REPOSITORY / "include" / "sql"


PORTS: dict[str, int] = {
    "airflow": 0,
    "clickhouse": 1,
    "kafka": 2,
    "kafka_controller": 3,
    "postgres": 4,
    "redis": 5,
    "s3": 6,
    "airflow_scheduler_health": 7,
    "ingestion_api": 10,
    "query_api": 11,
    "backup_gateway": 12,
    "clickhouse_native": 13,
    "ingestion_grpc": 14,
}
"""Each embedded server's port, as an offset from ``port_base``."""
