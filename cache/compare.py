"""In which parts two keys differ, in a user's words."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from featx.cache.duplicates import short_hashes
from featx.cache.entries import Entry, describe, digests_in, last_used
from featx.cache.folder import KeyFolder
from featx.cache.key import FeatureKey
from featx.cache.store import FeatureStore
from featx.errors import StoreError

Hashes = np.ndarray[Any, Any]

MAX_KEYS = 10_000
"""So many stored keys are looked at for the nearest one, those used last."""

_NEAR = 3
"""A key that differs in more parts than these is not worth naming."""

_SHOWN = 60
"""Characters of a value that are shown."""

_WORDS = {"fit": "resizing", "resizer": "resizing algorithm", "decoder": "decoding algorithm"}
"""Fields of the preprocessing whose names are not the options'."""


def differences(
    key_a: Mapping[str, Any],
    key_b: Mapping[str, Any],
    about_a: Mapping[str, Any] | None = None,
    about_b: Mapping[str, Any] | None = None,
    hashes_a: Hashes | None = None,
    hashes_b: Hashes | None = None,
) -> list[str]:
    """Return one line for each part in which two keys differ, such as ``size 64 -> 96``.

    Parameters
    ----------
    key_a, key_b : mapping
        ``FeatureKey.as_dict()``, or what key.json holds. Fields that are not known here are compared all the same.
    about_a, about_b : mapping, optional
        What was recorded beside the keys: gives the weights' names.
    hashes_a, hashes_b : ndarray of uint8 of shape (n, 32), optional
        Row hashes: tell how many images are others.
    """
    a, b = _plain(key_a), _plain(key_b)
    lines = []
    if (a.pop("rows", None), a.pop("n_rows", None)) != (b.pop("rows", None), b.pop("n_rows", None)):
        lines.append(_images(key_a.get("n_rows"), key_b.get("n_rows"), hashes_a, hashes_b))
    names = [_weights(key, about) for key, about in ((key_a, about_a), (key_b, about_b))]
    if a.pop("weights", None) != b.pop("weights", None):
        lines.append(f"weights {names[0]} -> {names[1]}")
    if a.pop("code", None) != b.pop("code", None):
        lines.append(_code(key_a, key_b))
    sizes = [_size(parts) for parts in (a, b)]
    if sizes[0] != sizes[1]:
        lines.append(f"size {sizes[0]} -> {sizes[1]}")
    for name in [*a, *(name for name in b if name not in a)]:
        if a.get(name) != b.get(name):
            lines.append(f"{_WORDS.get(name, name)} {_value(a.get(name))} -> {_value(b.get(name))}")
    return lines


def nearest_key(
    store: FeatureStore, key: FeatureKey, about: Mapping[str, Any] | None = None
) -> tuple[Entry, list[str]] | None:
    """Return the stored key of the same images and layer that differs from `key` in the fewest parts, and the parts.

    Of several the one used last; None where there is none. Only key.json files are read, at most `MAX_KEYS`, and the
    chosen key's record; no shard is opened.

    Parameters
    ----------
    store : FeatureStore
        Where to look.
    key : FeatureKey
        The wanted key; the entry of that very key is passed over.
    about : mapping, optional
        What would be recorded beside it: gives the weights' name.
    """
    wanted = key.as_dict()
    found: tuple[int, KeyFolder, dict[str, Any]] | None = None
    for folder in _last_used(store, key.digest):
        with suppress(StoreError):
            folder.refuse_links()
            stored = folder.key()
            if (stored["rows"], stored.get("layer")) != (key.rows, key.layer):
                continue
            parts = len(differences(stored, wanted))
            if found is None or parts < found[0]:
                found = parts, folder, stored
    if found is None:
        return None
    _, folder, stored = found
    return describe(folder), differences(stored, wanted, folder.about(), about)


def why_not_reused(store: FeatureStore, key: FeatureKey, about: Mapping[str, Any] | None = None) -> str | None:
    """Return ``3f2a...: same but for size 64 -> 96`` for the key nearest to `key`, or None where none is near."""
    found = nearest_key(store, key, about)
    if found is None or not 1 <= len(found[1]) <= _NEAR:
        return None
    return f"{found[0].digest[:12]}: same but for {', '.join(found[1])}"


def rows_if_other(folder: KeyFolder, key: Mapping[str, Any], other: Mapping[str, Any]) -> Hashes | None:
    """Return a key's row hashes where the other key has other rows; None where they are the same or damaged."""
    with suppress(StoreError):
        return folder.row_hashes(key) if key["rows"] != other["rows"] else None
    return None


def _last_used(store: FeatureStore, but: str) -> list[KeyFolder]:
    """Return the folders of all keys but one, last used first."""
    features = store.home / "features"
    folders = (KeyFolder(features / digest) for digest in digests_in(features) if digest != but)
    return heapq.nlargest(MAX_KEYS, folders, key=last_used)


def _plain(key: Mapping[str, Any]) -> dict[str, Any]:
    """Return a key's parts under the names that users know, JSON-able: those of the preprocessing among the others."""
    parts: dict[str, Any] = json.loads(json.dumps(dict(key)))
    preprocess = parts.pop("preprocess", None)
    parts |= preprocess if isinstance(preprocess, dict) else {"preprocess": preprocess}
    for group in ("options", "views"):
        values = parts.pop(group, None) or {}
        parts |= {f"{group}.{n}": v for n, v in values.items()} if isinstance(values, dict) else {group: values}
    return parts


def _size(parts: dict[str, Any]) -> str:
    """Take the size out of a key's parts and return it in words: ``96``, ``224 of 256`` (cut out of 256 px)."""
    crop, resize = parts.pop("crop", None), parts.pop("resize", None)
    if crop is None and resize is None:
        return "as it is"
    return _value(crop) if resize in (crop, None) else f"{_value(crop)} of {_value(resize)}"


def _weights(key: Mapping[str, Any], about: Mapping[str, Any] | None) -> str:
    name, digest = (about or {}).get("weights"), str(key.get("weights"))[:8]
    return f"{_value(name)} ({digest}...)" if isinstance(name, str) and name else f"{digest}..."


def _code(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    if a.get("backbone") == b.get("backbone"):
        return f"code of {_value(a.get('backbone'))} changed"
    return "code changed"


def _value(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        text = ",".join(map(_value, value))
    elif isinstance(value, bool):
        text = "on" if value else "off"
    else:
        text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _images(n_a: Any, n_b: Any, a: Hashes | None, b: Hashes | None) -> str:
    """Say how the images differ, from row hashes where both are known."""
    if a is None or b is None:
        return f"images {_count(n_a)} -> {_count(n_b)}" if n_a != n_b else f"the {_count(n_a)} images are different"
    gone, new = _only_in_first(a, b), _only_in_first(b, a)
    if gone == new == 0:
        return f"the same {_count(n_a)} images in another order"
    if gone == new:
        return f"{gone:,} of {_count(n_a)} images are different"
    parts = [f"{new:,} more"] * bool(new) + [f"{gone:,} fewer"] * bool(gone)
    return f"images {_count(n_a)} -> {_count(n_b)} ({', '.join(parts)})"


def _count(n: Any) -> str:
    return f"{n:,}" if isinstance(n, int) else _value(n)


def _only_in_first(a: Hashes, b: Hashes) -> int:
    """Return how many rows of `a` have no partner in `b`; each row is partner of one."""
    # As numbers ten million are sorted in a second, as 32 bytes each in half a minute; this is told, not relied on.
    rows, counts = np.unique(short_hashes(a), return_counts=True)
    others, held = np.unique(short_hashes(b), return_counts=True)
    if not len(others):
        return len(a)
    at = np.minimum(np.searchsorted(others, rows), len(others) - 1)
    partners = np.where(others[at] == rows, held[at], 0)
    return int(np.maximum(counts - partners, 0).sum())
