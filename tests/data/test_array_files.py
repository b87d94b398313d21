"""Images in .npy and HDF5 files: read in rows, from that very file, as they were when they were hashed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from featx.cache.memo import Memo
from featx.data.arrays import ArraySource
from featx.data.sources import load_source, load_splits
from featx.errors import SourceError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5, 4), np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 4, 3), np.uint8)
Y = np.array([2, 0, 1, 2, 0, 1])


def save_h5(folder: Path, **arrays: Any) -> Path:
    with h5py.File(folder / "data.h5", "w") as file:
        for name, value in arrays.items():
            file[name] = value
    return folder / "data.h5"


def save_npy(folder: Path, array: Any) -> Path:
    np.save(folder / "data.npy", array)
    return folder / "data.npy"


@pytest.mark.parametrize("images", [GREY, GREY[..., None], COLOUR], ids=lambda x: str(x.shape))
@pytest.mark.parametrize("kind", ["npy", "h5"])
def test_shapes_and_rows_are_those_of_the_array(tmp_path: Path, kind: str, images: Any) -> None:
    source = load_source(save_npy(tmp_path, images) if kind == "npy" else save_h5(tmp_path, X=images))
    expected = ArraySource(images)
    assert (source.channels, source.fingerprint()) == (expected.channels, expected.fingerprint())
    np.testing.assert_array_equal(source[5][0], expected[5][0])
    with pytest.raises(IndexError):
        source[6]


def test_opening_and_a_part_read_no_other_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from featx.data.array_files import NpyFile

    seen: list[int] = []
    original = NpyFile._read
    monkeypatch.setattr(NpyFile, "_read", lambda self, row: (seen.append(row), original(self, row))[1])
    source = load_source(save_npy(tmp_path, GREY)).subset(np.array([4, 1, 4]))
    assert seen == []
    source.row_hashes()
    source.row_hashes()
    assert seen == [1, 4]


def test_splits_classes_and_ids_as_in_an_npz(tmp_path: Path) -> None:
    path = save_h5(tmp_path, X_train=COLOUR[:4], y_train=Y[:4], X_test=COLOUR[4:], y_test=Y[4:], other=GREY)
    np.savez(tmp_path / "same.npz", X_train=COLOUR[:4], y_train=Y[:4], X_test=COLOUR[4:], y_test=Y[4:])
    for (split, one), other in zip(load_splits(path).items(), load_splits(tmp_path / "same.npz").values(), strict=True):
        assert (one.split, one.classes, list(one.ids)) == (split, other.classes, list(other.ids))
        assert (one.labels.tolist(), one.fingerprint()) == (other.labels.tolist(), other.fingerprint())
    (tmp_path / "named").mkdir()
    named = load_source(save_h5(tmp_path / "named", X=GREY, y=Y, classes=["a", "b", "c"], ids=list("uvwxyz")))
    assert (named.classes, list(named.ids)) == (("a", "b", "c"), list("uvwxyz"))


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("kind", ["npy", "h5"])
def test_a_file_that_changes_is_refused(tmp_path: Path, kind: str) -> None:
    path = save_npy(tmp_path, GREY) if kind == "npy" else save_h5(tmp_path, X=GREY)
    memo = Memo(tmp_path)
    source = load_source(path, memo=memo)
    before = source.fingerprint()
    (tmp_path / "new").mkdir()
    new = save_npy(tmp_path / "new", 255 - GREY) if kind == "npy" else save_h5(tmp_path / "new", X=255 - GREY)
    os.replace(new, path)
    with pytest.raises(SourceError, match="changed while"):
        source[0]
    assert load_source(path, memo=memo).fingerprint() != before


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (GREY / 255, "expected uint8"),
        (GREY[0], "expected uint8"),
        (np.uint8(3), "expected rows"),
        (np.asfortranarray(COLOUR), "in column order"),
        (GREY[:0], "no images"),
        (np.array([print]), "expected uint8"),
    ],
    ids=["floats", "one image", "a number", "column order", "no rows", "pickle"],
)
def test_other_arrays_are_refused(tmp_path: Path, array: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        load_source(save_npy(tmp_path, array))
    assert "data.npy" in caught.value.message


@pytest.mark.parametrize("suffix", [".npy", ".h5", ".hdf5"])
@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00\xff\xff{", b"\x89HDF\r\n\x1a\n\0\0"])
def test_damaged_files_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="not a readable"):
        load_source(path)


def test_a_shortened_npy_is_refused_before_and_after_it_was_opened(tmp_path: Path) -> None:
    path = save_npy(tmp_path, GREY)
    source = load_source(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SourceError, match="changed while"):
        source[5]
    with pytest.raises(SourceError, match="bytes long"):
        load_source(path)


def test_what_leads_out_of_an_hdf5_file_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = save_h5(tmp_path / "other", X=GREY)
    layout = h5py.VirtualLayout(GREY.shape, np.uint8)
    layout[:] = h5py.VirtualSource(str(other), "X", GREY.shape)
    (tmp_path / "raw").write_bytes(GREY.tobytes())
    cases = {
        "a link": h5py.ExternalLink(str(other), "X"),
        "is a link": h5py.SoftLink("/hidden"),
        "in other files": layout,
        "stored in other": [(str(tmp_path / "raw"), 0, GREY.nbytes)],
    }
    for message, what in cases.items():
        path = tmp_path / "data.h5"
        with h5py.File(path, "w") as file:
            if what is layout:
                file.create_virtual_dataset("X", what)
            elif isinstance(what, list):
                file.create_dataset("X", GREY.shape, np.uint8, external=what)
            else:
                file["X"] = what
        with pytest.raises(SourceError, match=message):
            load_source(path)


def test_objects_groups_and_giant_claims_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    cases: dict[str, Any] = {
        "of type object": lambda f: f.create_dataset("X", (6, 5, 4), h5py.ref_dtype),
        "no array": lambda f: f.create_group("X"),
        "claims shape": lambda f: f.create_dataset("X", (1 << 40, 5, 4), np.uint8, chunks=(1, 5, 4)),
        "expected X and y": lambda f: f.create_dataset("features", data=GREY),
        "labels are float": lambda f: (f.create_dataset("X", data=GREY), f.create_dataset("y", data=Y / 2)),
    }
    for message, make in cases.items():
        with h5py.File(path, "w") as file:
            make(file)
        with pytest.raises(SourceError, match=message):
            load_source(path)
