"""Whom an id stands for: the number that the contract has in ``user_id``, of any id as it is sent.

Senders name people by texts. A text that is no number becomes one by a keyed hash, which is the
same for every source and every process of an installation: one person is one number, wherever
their events come from, and is found and erased by the id that the sender knows.
"""

from __future__ import annotations

from hashlib import blake2b

MAX_USER_ID = (1 << 64) - 1
"""The largest number that ``user_id`` can be."""

_HASHED = 1 << 62
"""Hashed ids lie from here to 2^63: beyond all numbers that are given out in order, and within
PostgreSQL's ``bigint``, which profiles are kept by."""


def canonical(text: str) -> int | None:
    """Return the number that a text is, as the gate reads it: 1 to 2^64-1, digits only; or None."""
    if 0 < len(text) <= 20 and text.isascii() and text.isdigit() and text[0] != "0":
        number = int(text)
        return number if number <= MAX_USER_ID else None
    return None


def is_exact(number: float) -> bool:
    """Tell whether a number is whole, and so small that no other one reads the same.

    From 2^53 on a Float64 stands for several whole numbers: who is meant is not known any more.
    """
    return abs(number) < 1 << 53 and float(number).is_integer()


def number_of(original_id: str, hash_key: bytes) -> int:
    """Return the ``user_id`` of whom a sender calls this.

    The number itself if it is one, else a hash of 62 bits under the key (at most 64 bytes of it
    count), which nobody can guess an id from without the key.
    """
    number = canonical(original_id)
    return hashed(original_id, hash_key) if number is None else number


def hashed(text: str, hash_key: bytes) -> int:
    """Return the number that a text is hashed to."""
    digest = blake2b(text.encode("utf-8", "replace"), digest_size=8, key=hash_key[:64]).digest()
    return _HASHED | (int.from_bytes(digest, "big") >> 2)
