"""Rebuilding a day of events: ``day`` is the run, ``messages`` where its messages come from."""

from millrace.ingest.rebuild.day import rebuild
from millrace.ingest.rebuild.session import RebuildError, Report

__all__ = ["RebuildError", "Report", "rebuild"]
