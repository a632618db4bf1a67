"""How a command ends: 0 it is done, 1 the answer is no, 2 it could not be done, 130 interrupted.

An answer is what was asked for: differences, bad rows, an unhealthy server, a withheld window.
"""

from __future__ import annotations

import errno

import typer

from millrace.contract.visible import visible

NO = 1
ERROR = 2
OF_THE_MACHINE = frozenset(
    {
        errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.ENOSPC, errno.ENOTDIR, errno.EPERM,
        errno.EROFS,
    }
)  # fmt: skip
"""What a disk or its rights refuse, as of ``MILLRACE_HOME``; a file that is missing may be ours."""
INTERRUPTED = 130  # as a shell has it: 128 and the signal's number


def fail(error: object) -> typer.Exit:
    """Say in red why a command can't do what it was asked to; return what it has to raise."""
    typer.secho(visible(str(error)), fg="red", err=True)
    return typer.Exit(ERROR)


def sentences(error: BaseException) -> list[str]:
    """Return what happened and what to do, in a sentence or more; nothing for a programming error.

    The clients are imported here, since a command that fails has loaded the one that failed, and
    ``--help`` needs none.
    """
    from clickhouse_connect.driver.exceptions import DatabaseError as ClickHouseDatabaseError
    from clickhouse_connect.driver.exceptions import OperationalError as ClickHouseOperationalError
    from confluent_kafka import KafkaException
    from minio.error import MinioException
    from psycopg import OperationalError as PostgresError
    from psycopg import errors as refusals
    from pydantic import ValidationError
    from redis.exceptions import ConnectionError as RedisError
    from urllib3.exceptions import HTTPError as ObjectStorageError

    from millrace.settings import MissingFolderError, MissingSettingError, SettingsFileError
    from millrace.steps import StepError
    from millrace.stores.errors import plain

    told = StepError, MissingFolderError, MissingSettingError, SettingsFileError
    if isinstance(error, told):
        return [str(error)]
    if isinstance(error, ValidationError) and error.title == "Settings":
        return [
            f"MILLRACE_{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
            f" (given: {problem['input']})"
            for problem in error.errors()
        ]
    if type(error) is TimeoutError and error.errno is None and str(error):
        return [str(error)]  # ``millrace.waiting`` said for what, and what to do
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        place = f"{error.filename}: " if error.filename else ""
        return [f"{place}{error.strerror}"]
    if isinstance(error, (refusals.UndefinedTable, refusals.UndefinedColumn)):
        return [
            f"PostgreSQL (MILLRACE_POSTGRES_URL) said: {' '.join(str(error).split())[:500]}",
            "Its schema is not up to date: ./millrace up brings it there, or ./millrace migrate",
        ]
    for kind, server, setting in (
        (PostgresError, "PostgreSQL", "MILLRACE_POSTGRES_URL"),
        (refusals.InsufficientPrivilege, "PostgreSQL", "MILLRACE_POSTGRES_URL"),
        (refusals.ReadOnlySqlTransaction, "PostgreSQL", "MILLRACE_POSTGRES_URL"),
        # Values of people's that nothing before PostgreSQL refused.
        (refusals.DataError, "PostgreSQL", "MILLRACE_POSTGRES_URL"),
        (refusals.IntegrityError, "PostgreSQL", "MILLRACE_POSTGRES_URL"),
        (ClickHouseOperationalError, "ClickHouse", "MILLRACE_CLICKHOUSE_URL"),
        (ClickHouseDatabaseError, "ClickHouse", "MILLRACE_CLICKHOUSE_URL"),
        (KafkaException, "Kafka", "MILLRACE_KAFKA_BOOTSTRAP_SERVERS"),
        (RedisError, "Redis", "MILLRACE_REDIS_URL"),
        (ObjectStorageError, "object storage", "MILLRACE_S3_ENDPOINT"),
        (MinioException, "object storage", "MILLRACE_S3_ENDPOINT"),
    ):
        if isinstance(error, kind):
            return [
                f"{server} ({setting}) said: {' '.join(plain(error).split())[:500]}",
                "See whether it runs: ./millrace status",
            ]
    return []
