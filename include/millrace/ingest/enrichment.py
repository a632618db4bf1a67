"""Profiles for enrichment, looked up in the dictionary that ``stores.dictionaries`` makes."""

from __future__ import annotations

import logging

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.stores.errors import first_line

log = logging.getLogger(__name__)


def is_ready(client: Client) -> bool:
    """Tell whether profiles can be looked up; if not, events keep the country they came with."""
    try:
        client.command("SELECT dictGetOrDefault('user_profiles', 'country', 0::UInt64, '')")
    except ClickHouseError as error:
        log.warning(
            "no enrichment: the dictionary user_profiles does not answer: %s", first_line(error)
        )
        return False
    return True
