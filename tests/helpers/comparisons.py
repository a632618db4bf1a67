"""Finds comparisons of a DateTime64 with a DateTime or a whole number, by asking the engine.

ClickHouse from 26.3 misses rows of the last second before such a bound when the DateTime64 is a key
(``millrace.stores.clickhouse.misses_last_second``). The types of both sides are the analyzer's.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import urllib3

COMPARISONS = {"less", "greater", "lessOrEquals", "greaterOrEquals", "equals", "notEquals"}
_FUNCTION = re.compile(r"^( *)FUNCTION id: \d+, (?:alias: .*, )?function_name: (\w+),")
_TYPE = re.compile(r"(?:result_type|constant_value_type): (.+?)(?:, source_id: \d+)?$")
_LITERALS = re.compile(r"'(?:[^'\\]|\\.)*'|\d+")
_QUERY_WITHIN = re.compile(r"^\s*(?:SELECT|WITH)\b", re.IGNORECASE | re.MULTILINE)
_TOKENS = re.compile(
    r"'(?:[^'\\]|\\.|'')*'|`[^`]*`|--[^\n]*|/\*.*?\*/|[()]|^COMMENT '", re.DOTALL | re.M
)
_COMMENTS = re.compile(r"^\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*", re.DOTALL)
_DELETE = re.compile(
    r"^(?:DELETE FROM|ALTER TABLE)\s+(\S+)\s+(?:DELETE\s+)?WHERE\s+", re.IGNORECASE
)


def mixed(tree: str) -> list[str]:
    """Return the comparisons of ``EXPLAIN QUERY TREE`` in which rows can be missed, as text."""
    lines = tree.splitlines()
    found = []
    for number, line in enumerate(lines):
        function = _FUNCTION.match(line)
        if not function or function[2] not in COMPARISONS:
            continue
        arguments = []
        for below in lines[number + 1 :]:
            depth = (len(below) - len(below.lstrip()) - len(function[1])) // 2
            if depth <= 0:
                break
            if depth == 3:  # below FUNCTION, ARGUMENTS and LIST
                arguments.append(below.strip())
        for key, bound in itertools.permutations(arguments, 2):
            if not key.startswith("CONSTANT") and is_mixed(type_of(key), type_of(bound)):
                found.append(f"{function[2]}({key}, {bound})")
    return found


def type_of(node: str) -> str:
    """Return the type of a node of a query tree, nullable or not."""
    found = _TYPE.search(node)
    return re.sub(r"^(?:(?:Nullable|LowCardinality)\()+", "", found[1]) if found else ""


def is_mixed(key: str, bound: str) -> bool:
    """Tell whether the key is a DateTime64 and its bound a DateTime or a whole number."""
    return key.startswith("DateTime64") and bool(re.match(r"DateTime(?!64)|U?Int\d", bound))


def query_of(statement: str) -> str:
    """Return the SELECT that a statement is or holds; nothing if it has none."""
    statement = statement[_COMMENTS.match(statement).end() :]  # type: ignore[union-attr]
    if delete := _DELETE.match(statement):
        return f"SELECT 1 FROM {delete[1]} WHERE {statement[delete.end() :]}"
    keyword = statement.split(None, 1)[0].upper() if statement.strip() else ""
    if keyword in {"SELECT", "WITH"}:
        return statement
    if keyword in {"INSERT", "CREATE"} and (found := _QUERY_WITHIN.search(statement)):
        return _up_to_its_end(statement[found.start() :])
    return ""


def _up_to_its_end(text: str) -> str:
    """Cut what follows a query: the parenthesis that closes it, or the view's comment."""
    open_parentheses = 0
    for token in _TOKENS.finditer(text):
        if token[0] == "(":
            open_parentheses += 1
        elif token[0] == ")" or token[0].startswith("COMMENT"):
            open_parentheses -= token[0] == ")"
            if open_parentheses < 0 or (open_parentheses == 0 and token[0] != ")"):
                return text[: token.start()]
    return text


class Watch:
    """Looks at every statement that this process sends to one server over HTTP."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.unread: list[str] = []
        self.seen: set[str] = set()

    def look(
        self, urlopen: Callable[..., Any], pool: Any, url: str, body: object, headers: Any
    ) -> None:
        """Explain a statement as its sender would have it run, unless one like it was."""
        parameters = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        text = parameters.pop("query", "")
        if isinstance(body, bytes) and not text:
            text = body.decode(errors="replace")
        elif isinstance(body, str) and not text:
            text = body
        query = query_of(text)
        likeness = _LITERALS.sub("?", query)
        if not query or likeness in self.seen or "last_second" in query:  # which asks on purpose
            return
        self.seen.add(likeness)
        parameters.pop("query_id", None)
        address = "/?" + urlencode(parameters)
        kept = {k: v for k, v in (headers or {}).items() if k.lower() in {"authorization"}}
        kept |= {k: v for k, v in (headers or {}).items() if k.lower().startswith("x-clickhouse")}
        explain = "EXPLAIN QUERY TREE " + re.sub(r"\bFORMAT \w+\s*;?\s*$", "", query.rstrip(" ;\n"))
        try:
            answer = urlopen(
                pool, "POST", address, body=explain.encode(), headers=kept, retries=False,
                timeout=200, redirect=False,
            )  # fmt: skip
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self.unread.append(f"{error}: {query}")
            return
        tree = bytes(answer.data).decode(errors="replace").replace("\\'", "'")
        if answer.status != 200:
            self.unread.append(f"{tree}: {query}")
        self.found += [f"{comparison} in\n{query}" for comparison in mixed(tree)]


@contextmanager
def watched(port: Callable[[], int]) -> Iterator[Watch]:
    """Watch what this process sends to the ClickHouse server on a port."""
    watch = Watch()
    urlopen = urllib3.HTTPConnectionPool.urlopen

    def watching(
        pool: Any,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        *further: Any,  # a retry gives them by place
        **named: Any,
    ) -> Any:
        if pool.port == port() and method == "POST":
            watch.look(urlopen, pool, url, body, headers)
        return urlopen(pool, method, url, body, headers, *further, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(urllib3.HTTPConnectionPool, "urlopen", watching)
        yield watch
