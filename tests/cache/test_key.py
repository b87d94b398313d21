"""The key of stored features: every field counts, and its digest never changes by itself."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from featx.cache.key import SCHEMA, FeatureKey
from featx.core.hashing import canonical_json
from featx.core.specs import PreprocessSpec, Views

KEY = FeatureKey("0" * 64, 10, "resnet18", "1" * 64, "layer3:avg", PreprocessSpec(256, 224).as_dict())
OTHER: dict[str, Any] = {
    "rows": "2" * 64,
    "n_rows": 11,
    "backbone": "resnet34",
    "weights": "3" * 64,
    "layer": "layer3:avg2",
    "preprocess": PreprocessSpec(256, 223).as_dict(),
    "precision": "bf16",
    "dtype": "float16",
    "options": {"width": 2},
    "code": "4" * 64,
    "schema": SCHEMA + 1,
}


def test_another_value_is_known_for_every_field_of_the_key() -> None:
    assert set(OTHER) == {field.name for field in fields(FeatureKey)}


@pytest.mark.parametrize("name", sorted(OTHER))
def test_every_field_of_the_key_changes_its_digest(name: str) -> None:
    assert replace(KEY, **{name: OTHER[name]}).digest != KEY.digest


@pytest.mark.parametrize(
    "change",
    [
        {"resize": 255},
        {"crop": 225},
        {"mean": (0.5, 0.5, 0.5)},
        {"std": (0.5, 0.5, 0.5)},
        {"interpolation": "bicubic"},
        {"decoder": "x"},
        {"resizer": "x"},
        {"channels": 1, "mean": (0.5,), "std": (0.5,)},
        {"resize": None},
        {"crop": None},
        {"views": Views(5)},
        {"views": Views(flip=True)},
        {"views": Views(scales=(1, 1.25))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_of_the_preprocessing_changes_the_digest(change: dict[str, Any]) -> None:
    changed = replace(PreprocessSpec(256, 224), **change).as_dict()
    assert replace(KEY, preprocess=changed).digest != KEY.digest


def test_the_digest_survives_a_way_through_json() -> None:
    again = FeatureKey(**json.loads(canonical_json(KEY.as_dict())))
    assert again.digest == KEY.digest


def test_the_digest_is_pinned() -> None:
    # Whoever changes this orphans every store in the world: raise SCHEMA and say so in CHANGELOG.md.
    assert KEY.digest == "e9379febf72b64efd75c537853382ea8ea4c1d44a8776219f95628f683474a7a"
