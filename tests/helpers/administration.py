"""What holds for every thing that is administered by HTTP."""

from __future__ import annotations

from typing import Any

import httpx


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
