"""Images that several tests of sources use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest


@pytest.fixture
def split_pets(tmp_path: Path, fill: Callable[[Path, Iterable[str]], Path]) -> Path:
    """Class folders in two splits: five images a class to train on, two to test with."""
    names = [
        f"{split}/{kind}/{i}.png"
        for split, n in (("train", 5), ("test", 2))
        for kind in ("cat", "dog")
        for i in range(n)
    ]
    return fill(tmp_path / "split pets", names)
