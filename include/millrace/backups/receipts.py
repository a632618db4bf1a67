"""Receipts of erasures, kept beside the backups, so that they outlive a restore of PostgreSQL.

A receipt holds whom an erasure concerns and when it was ordered, none of the person's data; like
every object beside the backups it is encrypted. A restore carries out what the backup does not
know.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import psycopg
from minio import Minio
from minio.error import MinioException
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from urllib3.exceptions import HTTPError

from millrace.backups import gateway
from millrace.backups.erasure import Order
from millrace.backups.gateway import LOOK_AT_BUCKET, METADATA, BackupError
from millrace.settings import Settings
from millrace.stores import postgres, sql

FOLDER = "erasures"


def keep(settings: Settings, orders: Iterable[Order]) -> None:
    """Put orders and receipts beside the backups; those that are there already are replaced.

    Raises ``BackupError`` when they can't be kept.
    """
    try:
        objects = gateway.ensure_folders(settings)
        for one in orders:
            data = json.dumps(one.as_dict(), indent=2).encode()
            objects.put_object(METADATA, _key(one), BytesIO(data), len(data))
    except (MinioException, HTTPError) as error:
        raise BackupError(
            "the receipt can't be kept beside the backups, where a restore looks for it "
            f"({error}). {LOOK_AT_BUCKET}. Then run the erasure again: it goes on where it stopped"
        ) from error


def demand_known(settings: Settings) -> None:
    """Raise ``BackupError`` if PostgreSQL lacks an order that is beside the backups.

    It was restored then, and would give another person the number of the one that it lacks, and put
    that receipt in the place of theirs.
    """
    with postgres.connect(settings) as connection:
        numbers = {one.erasure_id for one in known(connection)}
    objects = gateway.ensure_folders(settings)
    kept = (item.object_name for item in objects.list_objects(METADATA, f"{FOLDER}/"))
    names = (name.removeprefix(f"{FOLDER}/").removesuffix(".json") for name in kept)
    lost = sorted({int(name) for name in names if name.isdecimal()} - numbers)
    if lost:
        numbers_lost = ", ".join(map(str, lost[:10]))
        raise BackupError(
            f"PostgreSQL lacks the erasures {numbers_lost}, since it was restored: run ./millrace "
            "backups catch-up, which carries them out again; then this once more"
        )


def keep_all(settings: Settings) -> None:
    """Put every order that PostgreSQL knows beside the backups, where it is not there yet."""
    with postgres.connect(settings) as connection:
        orders = known(connection)
    objects = gateway.connect(settings)
    there = {one.erasure_id: one for one in read(objects)}
    keep(settings, [one for one in orders if there.get(one.erasure_id) != one])


def read(objects: Minio) -> list[Order]:
    """Return the orders beside the backups, oldest first.

    Raises ``BackupError`` naming one that can't be read.
    """
    found = []
    for item in objects.list_objects(METADATA, f"{FOLDER}/"):
        try:
            fields = json.loads(objects.get_object(METADATA, item.object_name).read())
            found.append(_order(fields))
        except (MinioException, HTTPError, ValueError, TypeError) as error:
            raise BackupError(
                f"the receipt {item.object_name} can't be read ({error}), and without it a restore "
                "could bring a person back. Put it back from the second bucket, or delete it"
            ) from error
    return sorted(found, key=lambda one: one.requested_at)


def known(connection: psycopg.Connection[DictRow]) -> list[Order]:
    """Return the orders that PostgreSQL knows."""
    return [Order.of_row(row) for row in connection.execute("SELECT * FROM erasures ORDER BY 1")]


def put_back(connection: psycopg.Connection[DictRow], orders: Sequence[Order]) -> list[Order]:
    """Enter into PostgreSQL the orders that it lost by a restore; return those.

    They stand as not carried out, so that whoever writes heeds them at once.
    """
    lost = []
    with connection.transaction():
        for one in orders:
            values: dict[str, Any] = {**vars(one), "receipt": Jsonb(one.receipt)}
            row = connection.execute(
                sql.render("postgres/backups/put_back_erasure.sql"), values
            ).fetchone()
            if row is not None:
                lost.append(one)
        connection.execute(sql.render("postgres/backups/skip_erasure_ids.sql"))
    return lost


def since(orders: Iterable[Order], moment: datetime) -> list[Order]:
    """Return the orders that what is of a moment may not have carried out."""
    return [
        one for one in orders
        if one.requested_at >= moment or one.completed_at is None or one.completed_at >= moment
    ]  # fmt: skip


def _key(one: Order) -> str:
    return f"{FOLDER}/{one.erasure_id:08}.json"


def _order(fields: dict[str, Any]) -> Order:
    moments = {
        name: datetime.fromisoformat(fields[name]).astimezone(UTC) if fields[name] else None
        for name in ("requested_at", "completed_at")
    }
    return Order(**{**fields, **moments})
