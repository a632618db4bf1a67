"""Browsers that come back from where somebody signed in."""

from __future__ import annotations

import html

from fastapi.responses import HTMLResponse

from millrace.access.sessions import Session
from millrace.api.query import cookies
from millrace.api.query.service import Service


def page_of_ours(wanted: str) -> str:
    """Return a page of this site: nobody is sent elsewhere by a link to us."""
    is_ours = wanted.startswith("/") and wanted[1:2] != "/"
    return wanted if is_ours and "\\" not in wanted and wanted.isprintable() else "/"


def answer(service: Service, session: Session, page: str) -> HTMLResponse:
    """Give a browser the cookies of a session, and lead it to a page.

    A redirect would still count as the other site's, and Strict cookies would not go with it.
    """
    place = html.escape(page_of_ours(page), quote=True)
    arrived = HTMLResponse(
        f'<!doctype html><meta http-equiv="refresh" content="0;url={place}">'
        f'<a href="{place}">Go on</a>'
    )
    recognition = service.recognition
    access = recognition.access_token(session)
    cookies.give(arrived, service.settings, recognition.seal, session, access)
    return arrived
