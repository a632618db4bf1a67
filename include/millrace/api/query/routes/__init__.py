"""The routes, a module for what people want: each translates a request and calls what works."""

from __future__ import annotations

from fastapi import APIRouter

from millrace.api.query.routes import (
    admin,
    airflow,
    docs,
    entities,
    graphql,
    health,
    items,
    jobs,
    live,
    login,
    me,
    metrics,
    oidc,
    prometheus,
    prometheus_alerts,
    reports,
    samples,
    scrapes,
    tokens,
    users,
)

ROUTERS: tuple[APIRouter, ...] = (
    airflow.router,
    docs.router,
    entities.router,
    graphql.router,
    health.router,
    items.router,
    jobs.router,
    live.router,
    login.router,
    me.router,
    metrics.router,
    oidc.router,
    prometheus.router,
    prometheus_alerts.router,
    reports.router,
    samples.router,
    scrapes.router,
    tokens.router,
    users.router,
    *admin.ROUTERS,
)
"""Every route of the API."""
