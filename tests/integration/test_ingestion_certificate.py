"""What the ingestion API is certain of, the gate accepts: tried on events that are nearly good.

``NEARLY_GOOD=1000000`` tries a million, in a few minutes.
"""

from __future__ import annotations

import json
import os
import random
import struct
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver.external import ExternalData
from tests.helpers.nearly_good import EXTRA, NOW, TYPES, good, message, seeds

from millrace.api.ingestion.certificate import FEW, Certificate
from millrace.rules.checks import Surroundings
from millrace.rules.compiler import compile_gate
from millrace.settings import Settings
from millrace.stores import clickhouse, sql

COUNT = int(os.environ.get("NEARLY_GOOD", "40000"))
AT_ONCE = 40_000


@pytest.fixture(scope="module")
def failures(settings: Settings) -> Any:
    rules = [*seeds(), *EXTRA]
    around = Surroundings(TYPES, 1 << 20, 90)
    statement = compile_gate(rules, around).statement(
        f"({sql.render('clickhouse/api/arrived.sql')})", claimed_at="received_at"
    )
    query = sql.render("clickhouse/api/judged.sql", statement=statement)

    def judge(messages: list[bytes]) -> list[list[str]]:
        rows = b"".join(
            struct.pack("<Qq", number, round(NOW.timestamp() * 1000)) + length(one) + one
            for number, one in enumerate(messages)
        )
        data = ExternalData(
            file_name="arrived",
            data=rows,
            fmt="RowBinary",
            structure="number UInt64, received_at DateTime64(3, 'UTC'), message String",
        )
        with clickhouse.connect(settings, "ingestion") as client:
            return [list(row[2]) for row in client.query(query, external_data=data).result_rows]

    return judge


def length(one: bytes) -> bytes:
    size, found = len(one), bytearray()
    while size > 0x7F:
        found.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*found, size])


def test_what_is_certain_is_accepted(failures: Any) -> None:
    certificate = Certificate(
        [*seeds(), *EXTRA], TYPES, message_max_bytes=1 << 20, retention_days=90
    )
    for seed in range(-(-COUNT // AT_ONCE)):
        rng = random.Random(20261129 + seed)
        beside = [good(rng) for _ in range(FEW)]  # with which a good one is told together
        made = [message(rng) for _ in range(min(AT_ONCE, COUNT - seed * AT_ONCE))]

        as_bytes = [json.dumps(one).encode() for one in beside]
        raws = [raw for _, raw in made]
        certain = []
        for raw in raws:
            asked = [*as_bytes, raw]
            certain.append(certificate.users(asked, asked, NOW)[-1])
        told = failures(raws)
        wrong = [(raws[n], told[n]) for n, user in enumerate(certain) if user and told[n]]
        assert not wrong, (seed, wrong[:5])
        accepted = sum(not one for one in told)
        assert sum(map(bool, certain)) > 0.6 * accepted  # most of those need no question

        events = [event for event, _ in made[: AT_ONCE // 4]]
        values = [msgspec.json.encode(event) for event in events]
        encoded = [msgspec.json.encode(one) for one in beside]
        told = failures(values)
        for event, value, reasons in zip(events, values, told, strict=True):
            if reasons:
                users = certificate.users([*beside, event], [*encoded, value], NOW)
                assert not users[-1], (seed, value, reasons)
