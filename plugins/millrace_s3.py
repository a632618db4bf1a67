"""The connection type *S3*: MinIO, or any object storage that speaks S3.

Amazon's own provider tests a connection by asking AWS who it is, which no other storage answers.
Airflow learns of the type, and of its form, from ``millrace.provider``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

from millrace import provider

if TYPE_CHECKING:
    from minio import Minio


class S3Hook(BaseHook):
    """A client of the storage that a connection names: its URL, its keys, its bucket."""

    conn_name_attr = "s3_conn_id"
    default_conn_name = "s3_default"
    conn_type = provider.CONNECTION_TYPE
    hook_name = provider.HOOK_NAME

    def __init__(self, s3_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.s3_conn_id = s3_conn_id

    def get_conn(self) -> Minio:
        """Return the client."""
        from millrace.settings import Settings
        from millrace.stores import objects
        from millrace_connections import s3

        known = Settings()
        return objects.connect(
            known.model_copy(update=s3(known, self.get_connection(self.s3_conn_id)))
        )

    def test_connection(self) -> tuple[bool, str]:
        """Tell whether the storage lets the keys see the bucket, and say why it does not."""
        bucket = self.get_connection(self.s3_conn_id).schema or ""
        try:
            if not self.get_conn().bucket_exists(bucket):
                return False, f"there is no bucket {bucket!r}"
        except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
            return False, str(error)
        return True, f"bucket {bucket!r} is there"
