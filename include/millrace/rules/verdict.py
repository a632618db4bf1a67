"""Many checks, one verdict: whether any is broken, asked of every event, and which, of the bad.

Tests of one kind over one operand are merged. An event breaks one of twenty upper limits exactly
if it is above the lowest, and a list of values exactly if it is not in what all lists share. A
limit that differs by event type is looked up by the type's number. What exactly is broken matters
for bad events only, and is found there by going through the limits as arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from millrace.rules.checks import Check
from millrace.rules.expressions import literal

BITS = 64
"""As many different lists of values of a field are asked as one, a bit for each."""

Limit = float | tuple[str, ...]


@dataclass
class Group:
    """Tests of one kind over one operand: which check asks what of which event type."""

    kind: str
    operand: str
    event_number: str
    asked: list[tuple[int, str | None, Limit]] = field(default_factory=list)


def _groups(checks: list[Check]) -> list[Group]:
    """Gather the tests that can be asked together; checks are told by number, from 1."""
    found: dict[tuple[str, str, str], Group] = {}
    for number, check in enumerate(checks, 1):
        for test in check.tests:
            key = (test.kind, test.operand, check.event_number)
            group = found.setdefault(key, Group(*key))
            group.asked.append((number, check.event_type, test.limit))
    return list(found.values())


def _merge(kind: str, limits: list[Limit]) -> Limit | None:
    """Return the limit that is kept exactly if all are; nothing where there is none."""
    if not limits:
        return None
    if kind == "not_among":
        shared = set.intersection(*({str(v) for v in values} for values in _lists(limits)))
        return tuple(value for value in next(_lists(limits)) if value in shared)
    numbers = [limit for limit in limits if isinstance(limit, float)]
    return max(numbers) if kind == "below" else min(numbers)


def _lists(limits: Iterable[Limit]) -> Iterator[tuple[str, ...]]:
    return (limit for limit in limits if isinstance(limit, tuple))


def _by_type(group: Group, event_types: tuple[str, ...]) -> list[Limit | None]:
    """Return the merged limit for events of no rule's type, then of each type by its number."""
    return [
        _merge(group.kind, [limit for _, scope, limit in group.asked if scope in (None, name)])
        for name in (None, *event_types)
    ]


def any_broken(checks: list[Check], event_types: tuple[str, ...]) -> str:
    """Return one boolean expression that holds where any of ``checks`` is broken."""
    parts: list[str] = []
    scoped: dict[str, list[str]] = {}
    for group in _groups(checks):
        scopes = {scope for _, scope, _ in group.asked}
        if group.kind != "holds":
            parts.append(_outside(group, _by_type(group, event_types)))
        elif None in scopes:
            parts.append(group.operand)
        else:
            numbers = sorted(event_types.index(scope) + 1 for scope in scopes if scope is not None)
            listed = ", ".join(map(str, numbers))
            scoped.setdefault(f"{group.event_number} IN ({listed})", []).append(group.operand)
    parts += [f"({scope} AND ({' OR '.join(tests)}))" for scope, tests in scoped.items()]
    return " OR ".join(parts) or "0"


def _outside(group: Group, limits: list[Limit | None]) -> str:
    """Return whether the operand is outside its limit, which may differ by event type."""
    if group.kind == "not_among":
        return _in_no_list(group, [None if x is None else next(_lists([x])) for x in limits])
    sign, none = ("<", "-inf") if group.kind == "below" else (">", "inf")
    texts = [none if limit is None else literal(limit) for limit in limits]
    if len(set(texts)) == 1:
        return f"{group.operand} {sign} {texts[0]}"
    return f"{group.operand} {sign} arrayElement([{', '.join(texts)}], {group.event_number} + 1)"


def _in_no_list(group: Group, lists: list[tuple[str, ...] | None]) -> str:
    """Return whether a text is in none of the lists that hold for its event type.

    Each different list is a bit; a value has the bits of the lists that it is in.
    """
    different = list(dict.fromkeys(lists))
    if len(different) == 1:
        return _not_in(group.operand, different[0] or ())
    if len(different) > BITS:
        return " OR ".join(
            f"({group.event_number} = {number} AND {_not_in(group.operand, values)})"
            for number, values in enumerate(lists)
            if values is not None
        )
    free = sum(1 << bit for bit, values in enumerate(different) if values is None)
    # What is absent breaks no list.
    bits = {"": (1 << len(different)) - 1}
    for bit, values in enumerate(different):
        for value in values or ():
            bits[value] = bits.get(value, free) | 1 << bit
    known, masks = ", ".join(map(literal, bits)), ", ".join(map(str, bits.values()))
    mask = f"transform({group.operand}, [{known}], [{masks}]::Array(UInt64), toUInt64({free}))"
    place = ", ".join(str(different.index(values)) for values in lists)
    return f"NOT bitTest({mask}, arrayElement([{place}], {group.event_number} + 1))"


def _not_in(text: str, values: tuple[str, ...]) -> str:
    listed = ", ".join(map(literal, values))
    return f"({text} != '' AND {text} NOT IN ({listed}))" if listed else f"{text} != ''"


def broken(checks: list[Check], event_types: tuple[str, ...]) -> str:
    """Return an array expression of the labels of those of ``checks`` that are broken, in order."""
    ordered = [check for _, check in sorted(enumerate(checks), key=lambda x: (x[1].rank, x[0]))]
    if not ordered:
        return "[]::Array(String)"
    labels = ", ".join(literal(check.label) for check in ordered)
    groups = _groups(ordered)
    found = [_breaks(group, event_types) for group in groups if group.kind != "holds"]
    holding = [
        (str(number), group.operand if scope is None else f"{_is_of(group, scope, event_types)}")
        for group in groups
        if group.kind == "holds"
        for number, scope, _ in group.asked
    ]
    if holding:
        numbers, tests = zip(*holding, strict=True)
        found.append(
            f"arrayFilter((n, is_broken) -> is_broken, {_array(numbers)}, {_array(tests)})"
        )
    return (
        f"arrayMap(n -> [{labels}][n], arraySort(arrayDistinct(arrayConcat({', '.join(found)}))))"
    )


def _is_of(group: Group, scope: str, event_types: tuple[str, ...]) -> str:
    number = event_types.index(scope) + 1
    return f"({group.event_number} = {number} AND {group.operand})"


def _breaks(group: Group, event_types: tuple[str, ...]) -> str:
    """Return the numbers of the checks whose limit the operand is outside of."""
    outside = {
        "below": f"{group.operand} < limit",
        "above": f"{group.operand} > limit",
        "not_among": f"{group.operand} != '' AND NOT has(limit, {group.operand})",
    }[group.kind]
    numbers = [str(number) for number, _, _ in group.asked]
    scopes = [
        str(0 if scope is None else event_types.index(scope) + 1) for _, scope, _ in group.asked
    ]
    limits = [
        _array([literal(value) for value in limit]) if isinstance(limit, tuple) else literal(limit)
        for _, _, limit in group.asked
    ]
    in_scope = f"(scope = 0 OR scope = {group.event_number})"
    return (
        f"arrayFilter((n, scope, limit) -> {in_scope} AND {outside}, "
        f"{_array(numbers)}, {_array(scopes)}, {_array(limits)})"
    )


def _array(items: Iterable[str]) -> str:
    return f"[{', '.join(items)}]"
