"""What backups need beside the stores: the encrypting gateway and the archiver of the log."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from millrace.backups import gateway, wal
from millrace.settings import Settings
from millrace.stack.server import Server


def servers(settings: Settings) -> Iterable[Server]:
    """Describe the gateway and the archiver."""

    def check_gateway() -> None:
        gateway.connect(settings).list_buckets()

    yield Server(
        name="backup_gateway",
        command=[sys.executable, "-m", "millrace.backups.gateway"],
        check=check_gateway,
        directory=settings.home / "backups",
        port=settings.port("backup_gateway"),
        addresses={"s3": f"http://127.0.0.1:{settings.port('backup_gateway')}"},
        group="backups",
    )
    yield Server(
        name="wal_archiver",
        command=[sys.executable, "-m", "millrace.backups.archiver"],
        check=lambda: wal.check(settings),
        directory=settings.home / "wal",
        group="backups",
    )
