"""What is hashed is what is decoded, and parts and wholes have the rows that they should."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from source_facts import facts

from featx.data.source import JoinedSource
from featx.data.sources import load_source, load_splits
from featx.errors import ImageError, OptionError, SourceError

Pack = Callable[[Path], Path]


# The bytes that are hashed are the bytes that are decoded


def test_an_image_that_changes_after_it_was_hashed_is_refused(pets: Path, png: Any) -> None:
    source = load_source(pets)
    source.row_hashes()
    (pets / "cat/2.png").write_bytes(png(500))
    with pytest.raises(SourceError, match=r"cat/2\.png .*changed while") as caught:
        source[2]
    assert not isinstance(caught.value, ImageError), "it must not be skipped like a bad image"


def test_an_archive_that_changes_after_it_was_hashed_is_refused(pets: Path, pack: Pack, png: Any) -> None:
    for i in range(4):
        (pets / f"cat/{i}.png").write_bytes(png(i, 100, 100))  # larger than the buffers of an open file
    source = load_source(pack(pets))
    source.row_hashes()
    (pets / "cat/2.png").write_bytes(png(500, 100, 100))
    pack(pets)
    with pytest.raises(SourceError, match="changed while") as caught:
        source[2]
    assert not isinstance(caught.value, ImageError), "it must not be skipped like a bad image"


def test_a_bad_image_is_named_and_has_a_row(pets: Path) -> None:
    (pets / "cat/2.png").write_bytes(b"not an image")
    source = load_source(pets)
    assert len(source) == 10
    with pytest.raises(ImageError, match=r"image cat/2\.png"):
        source[2]
    assert source[3][1] == 0


def test_a_link_out_of_the_folder_is_refused(pets: Path, tmp_path: Path, png: Any) -> None:
    (tmp_path / "secret.png").write_bytes(png(5))
    (pets / "cat/9.png").symlink_to(tmp_path / "secret.png")
    source = load_source(pets)
    source.fingerprint()
    with pytest.raises(ImageError, match=r"cat/9\.png is a link that leads out"):
        source[list(source.ids).index("cat/9.png")]


# Parts and wholes


@pytest.mark.parametrize("kind", ["folder", "zip", "joined"])
def test_a_subset_is_its_rows(pets: Path, split_pets: Path, pack: Pack, kind: str) -> None:
    source = load_source({"folder": pets, "zip": pack(pets), "joined": split_pets}[kind])
    rows = np.array([0, 3, 8, 9])
    for hashed_before in (False, True):
        if hashed_before:
            source.row_hashes()
        part = source.subset(rows)
        assert list(part.ids) == [source.ids[i] for i in rows]
        assert part.labels.tolist() == source.labels[rows].tolist()
        np.testing.assert_array_equal(part.row_hashes(), source.row_hashes()[rows])
        for i, row in enumerate(rows):
            np.testing.assert_array_equal(part[i][0], source[int(row)][0])


def test_all_rows_of_all_splits_are_joined_in_order(split_pets: Path) -> None:
    splits, whole = load_splits(split_pets), load_source(split_pets)
    assert isinstance(whole, JoinedSource)
    assert (len(whole), whole.split) == (14, "all")
    assert list(whole.ids) == [*splits["train"].ids, *splits["test"].ids]
    assert whole.labels.tolist() == [*splits["train"].labels, *splits["test"].labels]
    for i in range(14):
        part, at = (splits["train"], i) if i < 10 else (splits["test"], i - 10)
        np.testing.assert_array_equal(whole[i][0], part[at][0])
        assert whole[i][1] == part[at][1]
    with pytest.raises(IndexError):
        whole[14]
    assert facts(load_source(split_pets, split="all")) == facts(whole)


def test_rows_of_a_joined_source_are_not_shuffled_over_its_splits(split_pets: Path) -> None:
    with pytest.raises(OptionError, match="ascending order across splits"):
        load_source(split_pets).subset(np.array([13, 0]))


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_sources_can_be_sent_to_another_process(pets: Path, pack: Pack, kind: str) -> None:
    source = load_source(pets if kind == "folder" else pack(pets))
    again = pickle.loads(pickle.dumps(source))
    assert facts(again) == facts(source)
    np.testing.assert_array_equal(again[4][0], source[4][0])
