"""YAML that people write, as they mean it: what YAML 1.1 and 1.2 read alike, and no key twice.

What they read otherwise is text. YAML 1.1, which PyYAML reads, makes a boolean of ``NO`` (Norway),
a time of ``2026-01-01``, 90 of ``1:30`` and 8 of ``010``, and takes the last of two equal keys.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml


def load(text: str) -> Any:
    """Return what a document holds. Raises ``yaml.YAMLError``, which names the line."""
    return yaml.load(text, _Loader)  # noqa: S506  a SafeLoader


def load_texts(text: str) -> Any:
    """Return what a document holds, every value as it is written. Raises ``yaml.YAMLError``."""
    return yaml.load(text, _TextLoader)  # noqa: S506  a SafeLoader


_MERGE = "tag:yaml.org,2002:merge"


class _TextLoader(yaml.SafeLoader):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML's own way

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            name = self.construct_object(key, deep=True)
            if isinstance(name, Hashable) and name in seen:
                raise yaml.constructor.ConstructorError(
                    "in a mapping",
                    node.start_mark,
                    f"the key {name!r} is there twice",
                    key.start_mark,
                )
            seen |= {name} if isinstance(name, Hashable) else set()
        made: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return made


class _Loader(_TextLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


_SCALARS = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?[0-9]*\.[0-9]+(?:[eE][-+][0-9]+)?|[-+]?[0-9]+\.(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", "<<", "<"),
)
for _name, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}",
        re.compile(f"(?:{_pattern})$"),
        ["" if letter == "\0" else letter for letter in _first],
    )
