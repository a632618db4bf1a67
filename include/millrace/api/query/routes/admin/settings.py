"""Settings: what is in force here, where each comes from, and what it means."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from fastapi import APIRouter
from pydantic import BaseModel, Field, SecretStr

from millrace.api.query.identity import Admin
from millrace.api.query.pages import Page, PageOf
from millrace.api.query.problems import declared
from millrace.api.query.service import ServiceOf
from millrace.settings import PREFIX, Settings

router = APIRouter(prefix="/v1/settings", tags=["settings"])


class Setting(BaseModel):
    """A setting; a secret has no value here, only whether it is set."""

    name: str
    variable: str
    value: Any
    is_secret: bool
    is_set: bool
    source: Literal["environment", "secrets.env", "millrace.toml", "default"] = Field(
        description="What is read first wins: in this order."
    )
    description: str


@router.get("", responses=declared(401, 403, 422))
def list_settings(_who: Admin, service: ServiceOf, asked: PageOf) -> Page[Setting]:
    """List the settings of this process. They are changed where they come from, and by a restart.

    ``docs/settings.md`` tells how.
    """
    origins = Settings.origins()
    values = service.settings.model_dump(mode="json")
    found = []
    for name, field in Settings.model_fields.items():
        is_secret = field.annotation is SecretStr or not field.repr
        found.append(
            {
                "name": name,
                "variable": f"{PREFIX}{name.upper()}",
                "value": None if is_secret else _without_password(values[name]),
                "is_secret": is_secret,
                "is_set": bool(values[name]),
                "source": origins.get(name, "default"),
                "description": field.description or "",
            }
        )
    items, cursor = asked.sort(found, lambda one: one["name"])
    return Page(items=[Setting(**one) for one in items], next=cursor)


def _without_password(value: Any) -> Any:
    """Return a setting's value; where it is an address with a password, without that."""
    if not isinstance(value, str) or "://" not in value:
        return value
    url = urlsplit(value)
    if url.password is None:
        return value
    user = f"{url.username}:***@" if url.username else "***@"
    return urlunsplit(url._replace(netloc=user + url.netloc.rpartition("@")[2]))
