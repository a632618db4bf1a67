"""Object storage (MinIO, or any S3)."""

from __future__ import annotations

from urllib.parse import urlsplit

from minio import Minio
from minio.error import MinioException, S3Error

from millrace.settings import MissingSettingError, Settings


def connect(settings: Settings) -> Minio:
    """Return a client of ``settings.s3_endpoint``.

    Raises ``MissingSettingError`` without a secret key.
    """
    if not settings.s3_secret_key.get_secret_value():
        raise MissingSettingError("MILLRACE_S3_SECRET_KEY")
    url = urlsplit(settings.s3_endpoint)
    return Minio(
        url.netloc,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=url.scheme == "https",
        region=settings.s3_region,
    )


def ensure_buckets(settings: Settings) -> list[str]:
    """Create the buckets that Millrace writes to; return those created now."""
    client = connect(settings)
    wanted = (settings.s3_bucket, settings.s3_backup_bucket, settings.backup_copy_bucket)
    return [bucket for bucket in filter(None, wanted) if ensure_bucket(client, bucket)]


def ensure_bucket(client: Minio, bucket: str) -> bool:
    """Create a bucket that is not there; return whether it was created now.

    Another process may create it at the same moment.
    """
    if client.bucket_exists(bucket):
        return False
    try:
        client.make_bucket(bucket)
    except MinioException:
        if not client.bucket_exists(bucket):
            raise
        return False
    return True


def read(settings: Settings, name: str) -> bytes:
    """Return an object of ``settings.s3_bucket``.

    Raises ``FileNotFoundError`` when there is none of this name, ``minio.error.S3Error`` when the
    storage refuses.
    """
    client = connect(settings)
    try:
        # Not every server's answer to a GET of nothing can be read by the SDK; that to a HEAD can.
        client.stat_object(settings.s3_bucket, name)
    except S3Error as error:
        if error.code == "NoSuchKey":
            raise FileNotFoundError(name) from error
        raise
    response = client.get_object(settings.s3_bucket, name)
    try:
        return bytes(response.read())
    finally:
        response.close()
        response.release_conn()
