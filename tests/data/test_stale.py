"""Changes that leave no trace in a file's times, or in the files that were looked at: they are seen all the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featx.cache.memo import Memo
from featx.core.file_stamps import file_stamp, notes_mapped_writes
from featx.data.sources import load_source
from featx.errors import SourceError
from featx.models.backbones import resolve

FACTORY = """
from torch import nn
try:
    from absent_module import WIDTH
except ImportError:
    WIDTH = 4

def make():
    return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.Flatten())
"""


@pytest.fixture
def mapped(tmp_path: Path, waits_for_disks: None) -> np.memmap:
    """Return an array on the disk of which one page was changed already, so that the next change needs no new time."""
    np.save(tmp_path / "data.npy", np.zeros((4, 8, 8), np.uint8))
    images: np.memmap = np.lib.format.open_memmap(tmp_path / "data.npy", "r+")
    images[0, 0, 0] = 1
    return images


@pytest.mark.usefixtures("settled")
def test_a_pixel_changed_through_a_memory_map_is_seen(tmp_path: Path, mapped: np.memmap) -> None:
    memo = Memo(tmp_path / "home")
    before = load_source(tmp_path / "data.npy", memo=memo).fingerprint()
    mapped[3, 0, 0] = 1
    assert load_source(tmp_path / "data.npy", memo=memo).fingerprint() != before


def test_after_a_look_at_a_file_such_a_change_gives_it_new_times(tmp_path: Path, mapped: np.memmap) -> None:
    path = tmp_path / "data.npy"
    if not notes_mapped_writes(path):
        pytest.skip("a file system in memory, which notes no such change: nothing is remembered there")
    stamp = file_stamp(path)
    mapped[2, 0, 0] = 1
    assert file_stamp(path) != stamp
    assert not notes_mapped_writes(tmp_path / "nothing.npy")


def test_a_row_that_changes_after_its_hash_is_not_computed(tmp_path: Path, mapped: np.memmap) -> None:
    source = load_source(tmp_path / "data.npy")
    source.row_hashes()
    mapped[3, 0, 0] = 1
    assert source[0][0][0, 0, 0] == 1
    with pytest.raises(SourceError, match="changed while featx was reading it"):
        source[3]


@pytest.mark.usefixtures("settled")
def test_a_module_that_appears_beside_a_factory_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "net.py").write_text(FACTORY)
    memo = Memo(tmp_path / "home")
    name = f"{tmp_path}/net.py:make"
    before = resolve(name, weights="random:0", memo=memo)
    assert resolve(name, weights="random:0", memo=memo).code == before.code
    (tmp_path / "absent_module.py").write_text("WIDTH = 5\n")
    after = resolve(name, weights="random:0", memo=memo)
    assert (after.code, after.weights_sha256) != (before.code, before.weights_sha256)
    assert after.code != before.code
