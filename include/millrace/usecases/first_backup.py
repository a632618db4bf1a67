"""The first backup, so that what a new stack holds can be restored before its first night."""

from __future__ import annotations

from millrace.backups import catalogue, gateway, metadata, wal, warehouse
from millrace.backups.catalogue import BusyError
from millrace.settings import Settings


class FirstBackup:
    """Takes a backup of either store that has none; ``was_taken`` says whether it took any."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.was_taken = False

    def take(self) -> None:
        """Take what is missing; raises ``BackupError`` when it can't be.

        Another backup that runs at the same time does as well. A PostgreSQL that lets nobody
        receive its log is not backed up.
        """
        objects = gateway.ensure_folders(self.settings)
        try:
            if not metadata.bases(objects) and not wal.refusal(self.settings):
                metadata.back_up(self.settings, "the first start")
                self.was_taken = True
            if not catalogue.ids(objects):
                warehouse.back_up(self.settings, "the first start")
                self.was_taken = True
        except BusyError:
            return
