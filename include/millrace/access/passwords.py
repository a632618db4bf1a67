"""Passwords: hashed with argon2id (RFC 9106), and verified in the time that any takes."""

from __future__ import annotations

import secrets
from functools import cache
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from millrace.access.keys import ALPHABET, AccessError

LEAST = 12
MOST = 256

_hasher = PasswordHasher()
_turns = BoundedSemaphore(2)
"""A hash takes 64 MiB: strangers who sign in at once must not fill the memory."""


def generate() -> str:
    """Return a password that nobody has: 20 letters and digits, 119 random bits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(20))


def hashed(name: str, password: str) -> str:
    """Return what is kept of a user's password. Raises ``AccessError`` where it is a poor one."""
    if not LEAST <= len(password) <= MOST:
        raise AccessError(f"a password has {LEAST} to {MOST} characters")
    if (len(name) > 3 and name in password.lower()) or len(set(password)) < 5:
        raise AccessError("the password is easily guessed; take another")
    with _turns:
        return _hasher.hash(password)


def verify(kept: str | None, password: str) -> bool:
    """Tell whether a password is the one whose hash was kept.

    Without a hash the answer is no, and takes as long: nobody learns by the time who there is.
    """
    with _turns:
        try:
            return _hasher.verify(kept or _nobodys(), password) and kept is not None
        except (VerificationError, InvalidHashError):
            return False


@cache
def _nobodys() -> str:
    return _hasher.hash(secrets.token_hex())
