"""Verdicts on windows: ``published_windows``, which quality writes and whoever publishes asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg
from psycopg.rows import DictRow

from millrace.stores import sql
from millrace.stores.postgres import one


@dataclass(frozen=True)
class Verdict:
    """What the audits say of a stretch of time, and why it is not published if it is not."""

    status: Literal["published", "withheld", "unknown"]
    reason: str = ""


def ask(
    connection: psycopg.Connection[DictRow], dataset: str, start: datetime, end: datetime
) -> Verdict:
    """Return the verdict on a dataset from ``start`` up to ``end``.

    Published only if windows that passed cover all of it.
    """
    row = one(
        connection.execute(
            sql.render("postgres/contract/verdict.sql"),
            {"dataset": dataset, "start": start, "end": end},
        )
    )
    if row["withheld"]:
        return Verdict("withheld", row["withheld"])
    if row["is_covered"]:
        return Verdict("published")
    return Verdict("unknown", f"check_quality has not judged all of it for dataset {dataset}")
