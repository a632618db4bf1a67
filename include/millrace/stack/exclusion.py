"""One process at a time: a file that a process locks for as long as it lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class HeldError(RuntimeError):
    """Another process has the file locked; ``holder`` is its id, or empty."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path} is locked by process {holder or 'unknown'}")
        self.holder = holder


def hold(path: Path) -> int:
    """Lock a file until the returned descriptor is closed, or the process ends.

    Raises ``HeldError`` when another process has it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode()
        os.close(descriptor)
        raise HeldError(path, holder) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor
