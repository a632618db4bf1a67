"""The administration of everything: a module for each thing that there is."""

from __future__ import annotations

from fastapi import APIRouter

from millrace.api.query.routes.admin import (
    alert_routes,
    alert_rules,
    audit_log,
    event_types,
    exports,
    ingest_keys,
    rules,
    saved,
    settings,
    silences,
    sources,
)

ROUTERS: tuple[APIRouter, ...] = (
    event_types.router,
    sources.router,
    ingest_keys.router,
    rules.router,
    alert_rules.router,
    alert_routes.router,
    silences.router,
    silences.windows,
    exports.router,
    saved.router,
    settings.router,
    audit_log.router,
)
"""Every route of the administration."""
