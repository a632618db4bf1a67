"""Values from outside as PostgreSQL can hold them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from millrace.stores import postgres

TEXT = st.text(st.characters(exclude_categories=()) | st.sampled_from("\0\ud83d\udc00"))


@given(TEXT)
def test_any_text_fits_and_only_what_does_not_is_changed(text):
    fit = postgres.fit(text)
    fit.encode()
    assert "\0" not in fit
    assert len(fit) == len(text)
    for before, after in zip(text, fit, strict=True):
        assert after == ("\ufffd" if before == "\0" or "\ud800" <= before <= "\udfff" else before)


def test_values_fit_however_nested():
    given = {"a\0": [{"\ud800": ("x\0", 1, None, True)}, float("nan"), float("-inf"), 1.5]}
    fit = postgres.fit(given)
    assert fit == {"a\ufffd": [{"\ufffd": ["x\ufffd", 1, None, True]}, "nan", "-inf", 1.5]}
    json.dumps(fit, allow_nan=False)


@given(TEXT, TEXT)
def test_long_names_stay_apart(one, other):
    first, second = (postgres.shortened("n" * 300 + text, 200) for text in (one, other))
    assert len(first) == len(second) == 200
    assert (first == second) == (one == other)


@given(TEXT)
def test_short_names_stay_themselves(text):
    assert postgres.shortened(text[:50], 50) == postgres.fit(text[:50])
