"""Fixtures of the store's tests."""

from __future__ import annotations

import pytest
from store_samples import Sample

from featx.cache import folder


@pytest.fixture
def sample() -> Sample:
    return Sample()


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file counts as checked, as in a process that has just begun."""
    monkeypatch.setattr(folder, "_checked", set())
