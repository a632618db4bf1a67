"""PostgreSQL's timelines: each restore begins a new one, and a moment lies on the one of its time.

A cluster that was restored to a moment branches off the log at that moment, while the log of the
cluster that it replaced goes on beyond it until the restore. So what PostgreSQL held at a moment is
on the timeline that served then, which is not always the latest one. PostgreSQL's own history files
say where timelines branch off, but not when they began to serve; that is noted beside them.

Source: https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO

from minio import Minio

from millrace.backups.gateway import METADATA

FOLDER = "timelines"
FIRST = 1
_HISTORY = re.compile(r"wal/([0-9A-F]{8})\.history\.gz")
_BRANCH = re.compile(r"^\s*(\d+)\s+([0-9A-F]+)/([0-9A-F]+)", re.MULTILINE)


@dataclass(frozen=True)
class Timeline:
    """One timeline; ``branches`` are the positions in the log where its ancestors were left."""

    number: int
    served_from: datetime
    branches: dict[int, int]

    def holds(self, number: int, position: int) -> bool:
        """Say whether a position in the log of a timeline is part of this one's past."""
        return number == self.number or position <= self.branches.get(number, -1)


def note(objects: Minio, number: int, served_from: datetime) -> None:
    """Note since when a timeline has served, unless that was noted before."""
    key = f"{FOLDER}/{number:08X}.json"
    if any(objects.list_objects(METADATA, key)):
        return
    data = json.dumps({"served_from": served_from.isoformat()}).encode()
    objects.put_object(METADATA, key, BytesIO(data), len(data))


def read(objects: Minio) -> list[Timeline]:
    """Return the timelines that are archived, in their order."""
    found = [Timeline(FIRST, datetime.min.replace(tzinfo=UTC), {})]
    noted = {item.object_name for item in objects.list_objects(METADATA, f"{FOLDER}/")}
    for item in objects.list_objects(METADATA, "wal/", recursive=True):
        if not (name := _HISTORY.fullmatch(item.object_name)):
            continue
        text = gzip.decompress(objects.get_object(METADATA, item.object_name).read()).decode()
        served_from = item.last_modified  # it is archived as soon as its timeline serves
        if (key := f"{FOLDER}/{name[1]}.json") in noted:
            known = json.loads(objects.get_object(METADATA, key).read())
            served_from = datetime.fromisoformat(known["served_from"])
        branches = {
            int(number): (int(high, 16) << 32) + int(low, 16)
            for number, high, low in _BRANCH.findall(text)
        }
        found.append(Timeline(int(name[1], 16), served_from, branches))
    return sorted(found, key=lambda timeline: timeline.number)


def at(objects: Minio, moment: datetime | None) -> Timeline:
    """Return the timeline that served at a moment, or serves now."""
    found = read(objects)
    return [t for t in found if moment is None or t.served_from <= moment][-1]
