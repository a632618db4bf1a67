"""Embedded object storage: a folder served over the S3 protocol by rclone."""

from __future__ import annotations

import sys
from pathlib import Path

from millrace.settings import Settings
from millrace.stack.server import Server, find_program
from millrace.stores import objects


def server(settings: Settings) -> Server:
    """Describe the embedded S3 server."""
    folder = settings.home / "s3"
    rclone = find_program("rclone", Path(sys.executable).parent, package="rclone")
    address = f"127.0.0.1:{settings.port('s3')}"
    key = settings.s3_access_key.get_secret_value()
    pair = f"{key},{settings.s3_secret_key.get_secret_value()}"
    # A list in CSV, hence the quotation marks, which the supervisor would strip; env(1) keeps them,
    # and is gone from the process list once it has become rclone.
    command = ["env", f'RCLONE_AUTH_KEY="{pair}"', rclone]

    def check() -> None:
        objects.connect(settings).list_buckets()

    return Server(
        name="s3",
        command=[*command, "serve", "s3", "--config", "", "--addr", address, str(folder)],
        check=check,
        directory=folder,
        port=settings.port("s3"),
        addresses={"s3": f"http://{address}"},
        prepare=lambda: folder.mkdir(parents=True, exist_ok=True),
    )
