"""How a source was asked for, so that another process can open the same one."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from featx.core.paths import expanded
from featx.data.registry import BUILT_IN
from featx.data.source import Source


@dataclass(frozen=True)
class SourceRequest:
    """What `featx.data.sources.load_splits` was called with.

    Parameters
    ----------
    spec, root, split, limit, per_class, seed : str, int or None
        As `load_splits` takes them.
    part : str or None
        Which of the splits it gave; None for all of them as one (`load_source`).
    """

    spec: str
    root: str | None = None
    split: str | None = None
    limit: int | None = None
    per_class: int | None = None
    seed: int = 0
    part: str | None = None

    def from_anywhere(self) -> SourceRequest:
        """Return a request that means the same in a process with another working folder."""
        return replace(self, spec=_absolute(self.spec), root=None if self.root is None else _absolute(self.root))


_requests: WeakKeyDictionary[Source, SourceRequest] = WeakKeyDictionary()
"""Of the sources that were opened by what they are called; those made of others' rows, or in memory, have none."""


def remember_request(source: Source, request: SourceRequest) -> None:
    """Remember how a source was asked for."""
    _requests[source] = request


def request_of(source: Source) -> SourceRequest | None:
    """Return how a source was asked for; None where it holds what only this process has."""
    try:
        return _requests.get(source)
    except TypeError:  # a caller's own class may forbid hashes or weak references
        return None


def _absolute(spec: str) -> str:
    """Return a path that is there without the working folder; a data set's name and a URL stay as they are."""
    if spec in BUILT_IN:
        return spec
    path = expanded(spec)
    return os.path.abspath(path) if os.path.lexists(path) else spec
