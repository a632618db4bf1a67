"""Worker processes that count together, for a scrape that any of them may answer.

They share files in the folder ``PROMETHEUS_MULTIPROC_DIR``, which the main process hands on:
https://prometheus.github.io/client_python/multiprocess/. The client looks for it when it is
imported, so nothing here imports it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def count_together(folder: Path) -> None:
    """Have the workers count together, from zero; call it before anything imports the client."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
