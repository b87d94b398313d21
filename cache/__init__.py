"""The feature store: features computed once, kept under the SHA-256 of everything they depend on."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featx.cache.store import FeatureStore as FeatureStore
    from featx.cache.table import FeatureTable as FeatureTable

_WHERE = {"FeatureStore": "featx.cache.store", "FeatureTable": "featx.cache.table"}

__all__ = ["FeatureStore", "FeatureTable"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
