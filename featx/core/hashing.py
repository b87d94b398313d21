"""Values as text with one spelling each, and its digest."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Return JSON with one spelling a value: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a value's length-prefixed canonical JSON, in hexadecimal."""
    text = canonical_json(value)
    return hashlib.sha256(b"%d:" % len(text) + text).hexdigest()


def digest_of_foreign(value: Any) -> str:
    """Return the digest of a value that anyone may have written, as JSON: it may hold infinite numbers, such as 1e999.

    >>> digest_of_foreign([1.0]) == digest_of([1.0]), len(digest_of_foreign(float("inf")))
    (True, 64)
    """
    try:
        return digest_of(value)
    except ValueError:
        return digest_of(repr(value))
