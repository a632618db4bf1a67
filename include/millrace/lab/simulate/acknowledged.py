"""What the ingestion API said yes to: the manifest of a simulation that was sent to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

FORMAT = 1


@dataclass
class Acknowledged:
    """The events that were acknowledged, by user, each sent after the one before it was.

    Where a request stayed without an answer it was sent again, ``repeated`` times in all, until
    there was one. ``unconfirmed`` counts the events of the last requests, given up when the run
    ended: they may be there or not, and ``users`` does not have them.
    """

    run_id: str
    seed: int
    topic: str
    url: str
    started_at: str
    finished_at: str = ""
    sent: int = 0
    bytes_sent: int = 0
    repeated: int = 0
    unconfirmed: int = 0
    users: dict[str, list[str]] = field(default_factory=dict)
    kind: str = "acknowledged"
    format: int = FORMAT

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(path.suffix + ".part")
        draft.write_bytes(orjson.dumps(asdict(self)) + b"\n")
        draft.replace(path)

    @classmethod
    def read(cls, path: Path) -> Acknowledged | None:
        """Read it; nothing where the file is a manifest of another kind, or none at all.

        Raises ``ValueError`` for one of another format.
        """
        try:
            content = orjson.loads(path.read_bytes())
        except orjson.JSONDecodeError:
            return None
        if not isinstance(content, dict) or content.get("kind") != "acknowledged":
            return None
        if content.get("format") != FORMAT:
            raise ValueError(f"{path} has format {content.get('format')}; simulate again")
        return cls(**content)
