"""Whom a key stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Account:
    """Whom a key stands for, as far as a family's translation needs it.

    Args:
        source_id: The source that the key's events belong to.
        settings: ``data_sources.config["ingestion"]``: aliases of names, unseen names, skew.
        hash_key: Keys the 64-bit hash of ids that are no numbers.
        field_names: The JSON keys that the source uses in place of the contract's.
    """

    source_id: str
    settings: Mapping[str, Any]
    hash_key: bytes
    field_names: Mapping[str, str] = field(default_factory=dict)
