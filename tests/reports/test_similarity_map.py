"""The map of layers against layers: every kind of picture, any number of layers and any names."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from featx.audit.similarity import Similarity, similarity
from featx.reports.similarity_map import LARGEST, similarity_map


def found(count: int, rows: int = 12) -> Similarity:
    draw = np.random.default_rng(count)
    return similarity({f"layer{i}.$x_{i}$:avg": draw.normal(size=(rows, 3)) for i in range(count)})


@pytest.mark.parametrize(("kind", "first"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_equal_values_give_equal_bytes_of_each_kind(kind: str, first: bytes) -> None:
    one, same = (similarity_map(found(3), "digits", kind) for _ in range(2))
    assert one.startswith(first)
    assert one == same


def test_numbers_stand_in_a_small_map_and_colours_follow_the_values() -> None:
    layers = {"a": np.eye(9)[:, :4], "b": np.random.default_rng(0).normal(size=(9, 4)), "flat": np.ones((9, 2))}
    picture = np.asarray(Image.open(io.BytesIO(similarity_map(similarity(layers), "t"))).convert("RGB"), int)
    colours = {tuple(colour) for colour in picture.reshape(-1, 3)}
    assert (8, 48, 107) in colours  # 1, the darkest of "Blues"
    assert (243, 227, 211) in colours  # undefined


def test_the_largest_map_stays_within_its_size() -> None:
    width, height = Image.open(io.BytesIO(similarity_map(found(130, rows=5), "t"))).size
    assert max(width / 2, height) < 120 * (LARGEST + 8)
