"""What is told of tables' parts: whether rows only came, or went as well."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast
from zlib import crc32

from millrace.api.query.cache.generations import Changes, Generations
from millrace.api.query.warehouse import Result, Warehouse
from millrace.settings import Settings

DAY, CLOCK = "20260105", 1_767_614_400.0
TABLE = "millrace.events"


def _digest(name: str) -> int:
    return crc32(name.encode())


class Parts:
    """A ClickHouse that tells of one table's active parts, by name."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def ask(self, statement: str, _values: Mapping[str, Any]) -> Result:
        """Answer what a look at the tables asks."""
        if "FROM system.tables" in statement:
            return Result([[TABLE, "one", "MergeTree", CLOCK]])
        if "partition_group" in statement:
            return Result([[TABLE, DAY, sum(map(_digest, self.names))]] if self.names else [])
        return Result([self._row(name) for name in self.names])

    @staticmethod
    def _row(name: str) -> list[Any]:
        _, first, last, _level, *mutation = name.split("_")
        version = mutation[0] if mutation else first
        path = f"/store/one/{name}/"
        return [TABLE, DAY, path, _digest(name), first, last, version, 0, 0, 0, 1]


def told(*looks: list[str]) -> list[list[str] | None]:
    """Return what each look but the first tells of the table, whose parts it sees."""

    async def run() -> list[list[str] | None]:
        parts, found = Parts(), []

        async def watcher(changes: Changes, _now: float) -> None:
            found.append(changes[TABLE])

        generations = Generations(Settings(), poll_seconds=3600)
        for number, parts.names in enumerate(looks):
            await generations.start(cast(Warehouse, parts))
            await generations.stop()
            if not number:
                generations.watch(watcher)
        return found

    return asyncio.run(run())


def test_a_load_is_told_by_its_parts() -> None:
    assert told([], [f"{DAY}_1_1_0"]) == [[f"{DAY}_1_1_0"]]
    one = f"{DAY}_1_1_0"
    assert told([one], [one, f"{DAY}_2_2_0"]) == [[f"{DAY}_2_2_0"]]


def test_an_erasure_is_told_as_more_than_rows_that_came() -> None:
    assert told([f"{DAY}_1_1_0"], [f"{DAY}_1_1_0_2"]) == [None]
    assert told([f"{DAY}_1_1_0"], []) == [None]


def test_rows_that_came_and_went_between_two_looks_are_told_as_gone() -> None:
    """What was computed meanwhile may hold what was erased."""
    other = f"{DAY}_1_1_0"
    assert told([], [f"{DAY}_1_1_0_2"]) == [None]
    assert told([other], [other, f"{DAY}_2_2_0_3"]) == [None]
