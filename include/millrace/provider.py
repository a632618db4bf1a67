"""What Airflow's entry point ``apache_airflow_provider`` asks of a package: its connection types.

The hooks themselves are in ``plugins/``; every process with Airflow in it reads this module.
"""

from __future__ import annotations

from typing import Any

CONNECTION_TYPE = "s3"
HOOK_NAME = "S3 (MinIO or any other)"


def get_provider_info() -> dict[str, Any]:
    """Describe the connection type, as Airflow asks every provider to."""
    return {
        "package-name": "millrace",
        "name": "Millrace",
        "description": "Object storage of any vendor.",
        "connection-types": [
            {
                "connection-type": CONNECTION_TYPE,
                "hook-class-name": "millrace_s3.S3Hook",
                "hook-name": HOOK_NAME,
                "ui-field-behaviour": {
                    "hidden-fields": ["port"],
                    "relabeling": {
                        "host": "Endpoint URL",
                        "schema": "Bucket",
                        "login": "Access key",
                        "password": "Secret key",
                    },
                    "placeholders": {"host": "https://s3.eu-central-1.amazonaws.com"},
                },
                "conn-fields": {
                    "region": {"label": "Region", "schema": {"type": ["string", "null"]}},
                },
            }
        ],
    }
