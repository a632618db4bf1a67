"""Statements that a deployment changes the warehouse with; on a cluster, all of its replicas."""

from __future__ import annotations

from dataclasses import dataclass

from millrace.stores import quoting


@dataclass(frozen=True)
class Ddl:
    """Builds statements for one warehouse. Names are qualified with their database."""

    cluster: str = ""

    @property
    def on(self) -> str:
        """The clause that makes a statement reach every replica, with a space before it."""
        return f" {quoting.on_cluster(self.cluster)}".rstrip()

    def create_database(self, name: str) -> str:
        """Create a database unless it is there."""
        return f"CREATE DATABASE IF NOT EXISTS {name}{self.on}"

    def drop_database(self, name: str) -> str:
        """Drop a database if it is there."""
        return f"DROP DATABASE IF EXISTS {name}{self.on} SYNC"

    def copy(self, name: str, origin: str) -> list[str]:
        """Create a table that holds what ``origin`` holds, by hard links."""
        return [
            f"CREATE TABLE {name}{self.on} AS {origin}",
            # on one replica: the others fetch the parts
            f"ALTER TABLE {name} ATTACH PARTITION ALL FROM {origin}",
        ]

    def truncate(self, name: str) -> str:
        """Empty a table."""
        return f"TRUNCATE TABLE {name}{self.on} SYNC"

    def drop_table(self, name: str) -> str:
        """Drop a table, or a view, if it is there."""
        return f"DROP TABLE IF EXISTS {name}{self.on} SYNC"

    def exchange(self, one: str, other: str) -> str:
        """Swap two tables atomically."""
        return f"EXCHANGE TABLES {one} AND {other}{self.on}"

    def rename(self, old: str, new: str) -> str:
        """Rename a table."""
        return f"RENAME TABLE {old} TO {new}{self.on}"

    def create_view(self, name: str, select: str) -> str:
        """Create or replace a view."""
        return f"CREATE OR REPLACE VIEW {name}{self.on} AS {select}"

    def create_materialized_view(self, name: str, target: str, select: str) -> str:
        """Create a view that feeds ``target`` with what is inserted from now on."""
        return f"CREATE MATERIALIZED VIEW {name}{self.on} TO {target} AS {select}"
