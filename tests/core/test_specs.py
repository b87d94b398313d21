"""What a user asks for: refused where it means nothing, spelled in one way, and keyed by every field."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, asdict, fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.core.hashing import digest_of
from featx.core.specs import BackboneConfig, ExtractConfig, LayerSpec, PreprocessSpec
from featx.errors import OptionError
from featx.probes.config import FitConfig
from featx.training.config import TrainConfig

NODES = st.from_regex(r"[A-Za-z0-9_]{1,12}(\.[A-Za-z0-9_]{1,12}){0,3}", fullmatch=True)
POOLS = st.sampled_from(["flat", "avg", "max", "cls"]) | st.integers(2, 999).map(lambda n: f"avg{n}")


@given(NODES, POOLS)
def test_parse_is_the_inverse_of_str(node: str, pool: str) -> None:
    layer = LayerSpec(node, pool)
    assert LayerSpec.parse(str(layer)) == layer


@given(st.text(max_size=20))
def test_any_text_is_refused_or_has_one_spelling(text: str) -> None:
    try:
        layer = LayerSpec.parse(text)
    except OptionError:
        return
    assert LayerSpec.parse(str(layer)) == layer
    assert text in (str(layer), f"{layer.node}:flat", f"{layer.node}:avg1")


def test_flat_and_avg1_are_other_words_for_the_same_layer() -> None:
    assert LayerSpec.parse("layer3") == LayerSpec.parse("layer3:flat")
    assert LayerSpec.parse("layer3:avg1") == LayerSpec.parse("layer3:avg")
    assert str(LayerSpec.parse("layer3:avg1")) == "layer3:avg"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":avg",
        "layer3:",
        "layer3:mean",
        "layer3:avg0",
        "layer3:avg01",
        "layer3:avg-2",
        "layer3:avg1000",
        "layer3:avg:avg",
        "layer3:AVG",
        "layer3 ",
        " layer3",
        "layer3\n",
        "layer3:avg\n",
        "layer3:avg٣",
        "läyer3",
        "layer3..bn",
        ".layer3",
        "layer3.",
        "../layer3",
        "layer3/bn",
        "layer3;x",
        "layer3,layer4",
        "a" * 200 + "!",
    ],
)
def test_bad_layers_are_refused_in_a_short_line(text: str) -> None:
    with pytest.raises(OptionError) as caught:
        LayerSpec.parse(text)
    assert caught.value.hint
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_grid_is_the_side_of_the_means() -> None:
    assert [LayerSpec("a", p).grid for p in ("flat", "max", "cls", "avg", "avg2", "avg13")] == [0, 0, 0, 1, 2, 13]


def test_layers_are_frozen_and_hashable() -> None:
    layer = LayerSpec("a")
    with pytest.raises(FrozenInstanceError):
        layer.node = "b"  # type: ignore[misc]
    assert {layer, LayerSpec.parse("a:flat")} == {layer}


# Preprocessing


@pytest.mark.parametrize(
    "wrong",
    [
        {"resize": 0},
        {"resize": -1},
        {"resize": 16385},
        {"crop": 0},
        {"resize": 10**9},
        {"crop": 2.5},
        {"mean": (0.5,)},
        {"std": (0.5, 0.5)},
        {"channels": 1},
        {"std": (0.5, 0.0, 0.5)},
        {"std": (0.5, -1.0, 0.5)},
        {"std": (math.nan,) * 3},
        {"std": (math.inf,) * 3},
        {"mean": (math.nan,) * 3},
        {"mean": (math.inf,) * 3},
        {"interpolation": "nearest"},
        {"channels": 65, "mean": (0.5,) * 65, "std": (0.5,) * 65},
        {"channels": 0},
    ],
    ids=str,
)
def test_preprocessing_that_means_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        replace(PreprocessSpec(256, 224), **wrong)


def test_preprocessing_survives_a_way_through_json() -> None:
    spec = PreprocessSpec(None, None, 1, mean=(0.1,), std=(0.3,), interpolation="bicubic")
    assert PreprocessSpec.from_dict(json.loads(json.dumps(spec.as_dict()))) == spec
    assert PreprocessSpec.from_dict(json.loads(json.dumps(asdict(spec)))) == spec


def test_equal_numbers_of_another_type_are_the_same_preprocessing() -> None:
    plain = PreprocessSpec(256, 224, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    other: Any = PreprocessSpec(np.int64(256), np.int32(224), mean=[0, 0, 0], std=np.ones(3, np.float32))  # type: ignore[arg-type]
    assert other == plain
    assert digest_of(other.as_dict()) == digest_of(plain.as_dict())
    assert hash(other) == hash(plain)


# Configurations


@pytest.mark.parametrize("bad", [0, -1, 2.5, math.nan, math.inf, "8", None], ids=repr)
@pytest.mark.parametrize(
    ("kind", "name"),
    [(ExtractConfig, "batch_size"), (FitConfig, "max_iter"), (TrainConfig, "epochs"), (TrainConfig, "batch_size")],
)
def test_counts_are_whole_and_positive(kind: Any, name: str, bad: Any) -> None:
    if (kind, bad) == (ExtractConfig, None):
        assert ExtractConfig(batch_size=None).batch_size is None  # by the images' size
        return
    with pytest.raises(OptionError, match=name):
        kind(**{name: bad})


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, "1", None], ids=repr)
@pytest.mark.parametrize(("kind", "name"), [(FitConfig, "C"), (FitConfig, "tol")])
def test_amounts_are_positive_and_finite(kind: Any, name: str, bad: Any) -> None:
    with pytest.raises(OptionError, match=name):
        kind(**{name: bad})


@pytest.mark.parametrize("bad", [0.0, math.nan, "fast"], ids=repr)
def test_a_learning_rate_is_positive_or_the_modes_own(bad: Any) -> None:
    assert TrainConfig().lr is None
    with pytest.raises(OptionError, match="lr"):
        TrainConfig(lr=bad)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ExtractConfig, "precision"),
        (ExtractConfig, "dtype"),
        (BackboneConfig, "stem"),
        (BackboneConfig, "resize"),
        (BackboneConfig, "interpolation"),
        (ExtractConfig, "on_error"),
        (TrainConfig, "mode"),
        (TrainConfig, "precision"),
        (TrainConfig, "augment"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused_with_those_that_do(kind: Any, name: str) -> None:
    with pytest.raises(OptionError, match="expected one of"):
        kind(**{name: "fp33"})


@pytest.mark.parametrize(("kind", "other"), [(ExtractConfig, BackboneConfig), (BackboneConfig, ExtractConfig)])
def test_what_the_other_config_is_for_is_refused_and_not_ignored(kind: Any, other: Any) -> None:
    for field in fields(other):
        with pytest.raises(TypeError, match=field.name):
            kind(**{field.name: field.default})


def test_workers_are_the_machines_choice_or_a_number() -> None:
    assert ExtractConfig(workers=None).workers is None
    assert ExtractConfig(workers=3).workers == 3
    with pytest.raises(OptionError, match="workers"):
        ExtractConfig(workers=-1)


def test_every_mode_has_its_learning_rate_and_augmentation() -> None:
    for mode in ("scratch", "frozen", "finetune"):
        assert TrainConfig.LR["sgd"][mode] > 0
        assert TrainConfig(mode=mode, augment=TrainConfig.AUGMENT[mode])


@pytest.mark.parametrize("text", ["layer*", "layer?:avg", "*.0:max", "all:avg", "all"])
def test_pattern_is_read_and_written_alike(text: str) -> None:
    spec = LayerSpec.parse(text)
    assert str(spec) == text
    assert spec.is_pattern
    assert not LayerSpec("allays").is_pattern


def test_star_does_not_cross_a_dot() -> None:
    names = ["layer1", "layer12", "layer1.0", "xlayer1", "layer1.0.conv1"]
    assert [n for n in names if LayerSpec("layer*").matches(n)] == ["layer1", "layer12"]
    assert [n for n in names if LayerSpec("layer?").matches(n)] == ["layer1"]
    assert [n for n in names if LayerSpec("*.?").matches(n)] == ["layer1.0"]
    assert [n for n in names if LayerSpec("all").matches(n)] == names
