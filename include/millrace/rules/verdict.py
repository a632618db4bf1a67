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
from millrace.stores.quoting import literal

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
    alike: dict[tuple[str, str], list[Group]] = {}
    for group in _groups(ordered):
        alike.setdefault((group.kind, group.event_number), []).append(group)
    found = ", ".join(_breaks(*key, groups, event_types) for key, groups in alike.items())
    return f"arrayMap(n -> [{labels}][n], arraySort(arrayDistinct(arrayConcat({found}))))"


def _breaks(kind: str, event_number: str, groups: list[Group], event_types: tuple[str, ...]) -> str:
    """Return the numbers of the checks of one kind that are broken.

    The engine takes its time over every function of a statement, and next to none over a list of
    values: so the rules are values here, and name the operand that they are about by its place.
    """
    operand = f"{_array(group.operand for group in groups)}[place]"
    outside = {
        "holds": operand,
        "below": f"{operand} < limit",
        "above": f"{operand} > limit",
        "not_among": f"{operand} != '' AND NOT has(limit, {operand})",
    }[kind]
    asked = [(place, *one) for place, group in enumerate(groups, 1) for one in group.asked]
    scopes = (0 if scope is None else event_types.index(scope) + 1 for _, _, scope, _ in asked)
    lists = {
        "n": _array(str(number) for _, number, _, _ in asked),
        "place": _array(str(place) for place, _, _, _ in asked),
        "scope": _array(map(str, scopes)),
    }
    if kind != "holds":
        lists["limit"] = _array(_limit(limit) for _, _, _, limit in asked)
    test = f"(scope = 0 OR scope = {event_number}) AND {outside}"
    return f"arrayFilter(({', '.join(lists)}) -> {test}, {', '.join(lists.values())})"


def _limit(limit: Limit) -> str:
    return _array(map(literal, limit)) if isinstance(limit, tuple) else literal(limit)


def _array(items: Iterable[str]) -> str:
    return f"[{', '.join(items)}]"
