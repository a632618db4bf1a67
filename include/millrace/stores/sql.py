"""SQL files under ``include/sql``, rendered with Jinja."""

from __future__ import annotations

from functools import lru_cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from millrace.settings import REPOSITORY


@lru_cache(maxsize=1)
def _environment() -> Environment:
    # SQL is not HTML: values reach a statement as bound parameters, never through the template.
    return Environment(
        loader=FileSystemLoader(REPOSITORY / "include" / "sql"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        autoescape=False,  # noqa: S701
    )


def render(name: str, **variables: object) -> str:
    """Return the statement in ``include/sql/<name>`` with ``variables`` filled in.

    Templates take identifiers, engine clauses and compiled expressions only; values are bound by
    the client. Raises ``jinja2.UndefinedError`` when the file names a variable that is not given.
    """
    return _environment().get_template(name).render(**variables).strip()


def render_all(name: str, **variables: object) -> list[str]:
    """Return the statements of a file that holds several, split at lines that are ``;`` alone."""
    parts = render(name, **variables).split("\n;\n")
    return [part.strip().rstrip(";").strip() for part in parts if part.strip(" \n;")]
