"""What holds for every thing that is administered by HTTP."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from psycopg.sql import SQL, Identifier

from millrace.settings import Settings
from millrace.stores import postgres
from millrace.waiting import until


def audited(admin: httpx.Client, table: str, key: str) -> list[dict[str, Any]]:
    """The changes of a row, the oldest first."""
    answer = admin.get("/v1/audit-log", params={"table_name": table, "row_key": key})
    found: list[dict[str, Any]] = answer.json()["items"]
    return found[::-1]


def changed_once(
    admin: httpx.Client, address: str, change: dict[str, Any], verb: str = "PATCH"
) -> httpx.Response:
    """Change a thing, and prove that nobody can who has not seen its state."""
    before = admin.get(address)
    tag = before.headers["etag"]
    blind = admin.request(verb, address, json=change)
    assert (blind.status_code, blind.json()["code"]) == (428, "precondition_required")
    made = admin.request(verb, address, json=change, headers={"If-Match": tag})
    assert made.status_code == 200, made.text
    assert made.headers["etag"] != tag
    assert admin.get(address).headers["etag"] == made.headers["etag"]
    stale = admin.request(verb, address, json=change, headers={"If-Match": tag})
    assert (stale.status_code, stale.json()["code"]) == (412, "changed_meanwhile")
    return made


def deleted(admin: httpx.Client, address: str) -> None:
    """Delete a thing, and prove that nobody can who has not seen its state."""
    assert admin.delete(address).status_code == 428
    assert admin.delete(address, headers={"If-Match": '"another"'}).status_code == 412
    tag = admin.get(address).headers["etag"]
    assert admin.delete(address, headers={"If-Match": tag}).status_code == 204


def refused(answer: httpx.Response, status: int, pointer: str) -> None:
    """The answer is a problem that names the member at fault."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer], answer.text


def sent_at_once(
    settings: Settings, table: str, send: Callable[[], httpx.Response]
) -> list[httpx.Response]:
    """Send a request twice, so that both begin before one writes to a table; a refusal is last."""
    with (
        postgres.connect(settings) as connection,
        postgres.connect(settings) as watching,
        ThreadPoolExecutor(2) as people,
    ):

        def both_wait() -> bool:
            waiting = watching.execute("SELECT count(*) AS n FROM pg_locks WHERE NOT granted")
            return bool(postgres.one(waiting)["n"] >= 2)

        with connection.transaction():
            connection.execute(SQL("LOCK TABLE {} IN SHARE MODE").format(Identifier(table)))
            sent = [people.submit(send) for _ in range(2)]
            until(both_wait, "both to be about to write", seconds=60)
        return sorted((one.result() for one in sent), key=lambda one: one.status_code)
