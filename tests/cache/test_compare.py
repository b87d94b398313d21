"""Two keys' differences in words, and the nearest stored key."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_samples import ABOUT, Sample

from featx.cache import compare
from featx.cache.compare import differences, nearest_key, why_not_reused
from featx.cache.store import FeatureStore
from featx.core.specs import PreprocessSpec


def key(**changes: Any) -> dict[str, Any]:
    return Sample().key.as_dict() | changes


def pixels(*args: Any, **changes: Any) -> dict[str, Any]:
    return {"preprocess": asdict(PreprocessSpec(*args, **changes))}


@pytest.mark.parametrize(
    ("a", "b", "line"),
    [
        ({"layer": "layer3:avg"}, {"layer": "layer4:avg"}, "layer layer3:avg -> layer4:avg"),
        ({"precision": "fp32"}, {"precision": "bf16"}, "precision fp32 -> bf16"),
        ({"dtype": "float32"}, {"dtype": "float16"}, "dtype float32 -> float16"),
        ({"backbone": "resnet18"}, {"backbone": "resnet50"}, "backbone resnet18 -> resnet50"),
        ({"weights": "ab" * 32}, {"weights": "cd" * 32}, "weights abababab... -> cdcdcdcd..."),
        ({"code": "a"}, {"code": "b"}, "code of lenet5 changed"),
        ({"options": {"depth": 2}}, {"options": {"depth": 3}}, "options.depth 2 -> 3"),
        ({"options": {}}, {"options": {"deep": True}}, "options.deep none -> on"),
        ({"n_rows": 10}, {"n_rows": 1010, "rows": "x"}, "images 10 -> 1,010"),
        ({"rows": "y"}, {"rows": "x"}, "the 10 images are different"),
        (pixels(64, 64), pixels(96, 96), "size 64 -> 96"),
        (pixels(256, 224), pixels(96, 96), "size 224 of 256 -> 96"),
        (pixels(None, None), pixels(96, 96), "size as it is -> 96"),
        (pixels(9, 9), pixels(9, 9, fit="pad"), "resizing crop -> pad"),
        (pixels(9, 9), pixels(9, 9, interpolation="bicubic"), "interpolation bilinear -> bicubic"),
        (pixels(9, 9), pixels(9, 9, mean=(0, 0, 0.5)), "mean 0.485,0.456,0.406 -> 0.0,0.0,0.5"),
        ({}, {"crops": 10}, "crops none -> 10"),
        ({"schema": 1}, {"schema": 2}, "schema 1 -> 2"),
    ],
)
def test_each_part_is_one_line(a: dict[str, Any], b: dict[str, Any], line: str) -> None:
    assert differences(key(**a), key(**b)) == [line]


def test_equal_keys_do_not_differ() -> None:
    assert differences(key(), key()) == []


def test_a_views_field_of_the_preprocessing_is_spelled_out() -> None:
    a, b = ({**asdict(PreprocessSpec(9, 9)), "views": views} for views in ({}, {"crops": 5}))
    assert differences(key(preprocess=a), key(preprocess=b)) == ["views.crops none -> 5"]


def test_weights_are_named_where_the_record_names_them() -> None:
    lines = differences(key(weights="ab" * 32), key(weights="cd" * 32), {"weights": "DEFAULT"}, {"weights": "random:0"})
    assert lines == ["weights DEFAULT (abababab...) -> random:0 (cdcdcdcd...)"]


def test_long_values_are_cut() -> None:
    (line,) = differences(key(layer="a" * 10_000), key(layer="b" * 10_000))
    assert len(line) < 150


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([0, 1, 2, 3, 4, 5], "images 5 -> 6 (1 more)"),
        ([0, 1, 2], "images 5 -> 3 (2 fewer)"),
        ([0, 1, 2, 7, 8], "2 of 5 images are different"),
        ([4, 3, 2, 1, 0], "the same 5 images in another order"),
        ([0, 1, 2, 7, 8, 9], "images 5 -> 6 (3 more, 2 fewer)"),
        ([0, 1, 2, 3, 3], "1 of 5 images are different"),
        ([], "images 5 -> 0 (5 fewer)"),
    ],
)
def test_images_are_counted_by_their_hashes(rows: list[int], line: str) -> None:
    pool = np.random.default_rng(0).integers(0, 256, (10, 32), np.uint8)
    pool[:, -1] = 0
    a, b = key(n_rows=5), key(n_rows=len(rows), rows="x")
    assert differences(a, b, None, None, pool[:5], pool[rows]) == [line]


@given(st.lists(st.integers(0, 6)), st.lists(st.integers(0, 6)))
def test_counts_of_images_are_those_of_multisets(a: list[int], b: list[int]) -> None:
    pool = np.arange(7, dtype=np.uint8)[:, None] * np.ones(32, np.uint8)
    rest = list(b)
    for value in a:
        if value in rest:
            rest.remove(value)
    assert compare._only_in_first(pool[b], pool[a]) == len(rest)


@given(st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(max_size=5)))
def test_anything_that_a_key_may_hold_is_compared(extra: dict[str, Any]) -> None:
    wanted = {name for name, value in extra.items() if name not in key() and value is not None}
    changed = {name: extra[name] for name in wanted}
    ignored = wanted & {"crop", "resize", *key()["preprocess"], "views"}
    assert len(differences(key(), key() | changed)) >= len(wanted - ignored)


def test_the_nearest_key_is_the_one_with_the_fewest_other_parts(tmp_path: Path) -> None:
    wanted = Sample(dtype="float16")
    wanted.key = replace(wanted.key, precision="bf16")
    near, far, other_layer = Sample(dtype="float16"), Sample(), Sample(dtype="float16", layer="fc2")
    other_layer.key = replace(other_layer.key, precision="bf16")
    for sample in (near, far, other_layer):
        store = sample.stored(tmp_path)
    for path in store.folder(near.key).rglob("*.h5"):
        path.unlink()  # no shard is opened
    found = nearest_key(store, wanted.key, ABOUT)
    assert found is not None
    assert found[0].digest == near.key.digest
    assert found[1] == ["precision fp32 -> bf16"]
    assert why_not_reused(store, wanted.key) == f"{near.key.digest[:12]}: same but for precision fp32 -> bf16"


def test_the_key_itself_damaged_ones_and_links_are_passed_over(tmp_path: Path) -> None:
    sample, other = Sample(), Sample(layer="fc2")
    store = sample.stored(tmp_path)
    other.stored(tmp_path)
    (store.folder(other.key) / "key.json").write_text("[" * 10_000)
    store.folder("0" * 64).symlink_to(store.folder(other.key))
    assert nearest_key(store, sample.key) is None
    assert why_not_reused(store, sample.key) is None


def test_a_key_with_nothing_in_common_is_not_named(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    other = replace(sample.key, backbone="vgg11", dtype="float16", weights="1" * 64, precision="bf16")
    assert why_not_reused(store, other) is None


def test_an_empty_store_has_no_nearest_key(tmp_path: Path, sample: Sample) -> None:
    assert nearest_key(FeatureStore(tmp_path), sample.key) is None
