"""What is wrong with an expression."""

from __future__ import annotations


class UnsupportedError(ValueError):
    """An expression that cannot be parsed or uses a construct that is not covered.

    The message names the construct.
    """
