"""FeatureExtractor: a backbone inside a scikit-learn pipeline."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import drawn, explode, some_digits
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from featx.cache.store import FeatureStore
from featx.core.specs import LayerSpec
from featx.errors import FeatxError, ImageError, OptionError, SourceError
from featx.extraction.compute import compute
from featx.extraction.extractor import FeatureExtractor
from featx.models.backbones import resolve
from featx.probes.softmax import SoftmaxRegression

pytestmark = pytest.mark.usefixtures("one_thread")


def lenet(layers: Any = "pool2", **options: Any) -> FeatureExtractor:
    return FeatureExtractor("lenet5", layers, weights="random:0", **options)


# ---- as scikit-learn wants it ---------------------------------------------------------------------------------------


def test_pipeline_learns_digits() -> None:
    digits = some_digits(600)
    X, y = digits.images[..., 0], digits.labels
    model = make_pipeline(lenet(), SoftmaxRegression(C=0.1))
    assert model.fit(X[:400], y[:400]).score(X[400:], y[400:]) > 0.85


def test_grid_search_chooses_among_layers() -> None:
    digits = some_digits(120, classes=(3, 8))
    pipeline = make_pipeline(lenet(), SoftmaxRegression())
    grid = {"featureextractor__layers": ["pool2", ["conv1:avg", "relu4"], "conv1:max"]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(digits.images, digits.labels)
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores)) > 1  # the layers made a difference
    assert search.best_score_ == max(scores) > 0.8


def test_clone_and_pickle_keep_every_parameter(tmp_path: Path) -> None:
    made = lenet(["pool2", "relu4"], size=32, mean=(0.1,), std=(0.9,), dtype="float16", batch_size=5, store=tmp_path)
    X = drawn(4, channels=1).images
    for copied in (clone(made), pickle.loads(pickle.dumps(made))):
        assert copied.get_params() == made.get_params()
        np.testing.assert_array_equal(copied.transform(X), made.transform(X))


def test_constructor_checks_nothing_and_fit_everything() -> None:
    X = drawn(2, channels=1).images
    wrongs: list[dict[str, Any]] = [
        {"precision": "fp8"},
        {"dtype": "int8"},
        {"batch_size": 0},
        {"layers": "a:b"},
        {"layers": []},
    ]
    for wrong in wrongs:
        made = FeatureExtractor(**{"backbone": "lenet5", "layers": "pool2", **wrong})
        with pytest.raises(OptionError):
            made.fit(X)


def test_store_given_as_an_object_survives_a_clone(tmp_path: Path) -> None:
    made = lenet(store=FeatureStore(tmp_path))
    X = drawn(3, channels=1).images
    np.testing.assert_array_equal(clone(made).transform(X), made.transform(X))
    assert len(list(FeatureStore(tmp_path).ls())) == 1


# ---- what it gives --------------------------------------------------------------------------------------------------


def test_arrays_paths_and_sources_give_the_same(tmp_path: Path) -> None:
    source = drawn(5)
    names = [tmp_path / f"{i}.png" for i in range(5)]
    for image, name in zip(source.images, names, strict=True):
        Image.fromarray(image).save(name)
    expected = lenet().transform(source)
    assert expected.shape == (5, 400)
    for X in (source.images, names, list(map(str, names)), np.array(list(map(str, names))), tmp_path, str(tmp_path)):
        np.testing.assert_array_equal(lenet().transform(X), expected)


def test_grey_arrays_are_the_network_for_grey_images() -> None:
    grey = drawn(3, channels=1)
    np.testing.assert_array_equal(lenet().transform(grey.images[..., 0]), lenet().transform(grey))
    assert not np.allclose(lenet().transform(grey), lenet().transform(np.repeat(grey.images, 3, axis=3)))


@pytest.mark.parametrize("stored", [False, True])
def test_layers_are_columns_side_by_side_in_the_order_asked(tmp_path: Path, stored: bool) -> None:
    source, store = drawn(4, channels=1), tmp_path if stored else None
    one_by_one = {layer: lenet(layer).transform(source) for layer in ("relu4", "conv1:avg", "pool2:max")}
    assert [x.shape[1] for x in one_by_one.values()] == [84, 6, 16]
    for order in (["relu4", "conv1:avg", "pool2:max"], ("pool2:max", "relu4", "conv1:avg")):
        expected = np.hstack([one_by_one[layer] for layer in order])
        np.testing.assert_allclose(lenet(order, store=store).transform(source), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(lenet(LayerSpec("conv1", "avg")).transform(source), one_by_one["conv1:avg"])


def test_values_are_the_engines_own() -> None:
    source = drawn(4)
    backbone = resolve("resnet18", weights="random:3", size=32)
    extractor = FeatureExtractor("resnet18", "layer2:avg2", weights="random:3", size=32)
    np.testing.assert_array_equal(
        extractor.transform(source), compute(source, backbone, ["layer2:avg2"])["layer2:avg2"]
    )


def test_stored_dtype_is_the_one_asked_for(tmp_path: Path) -> None:
    source = drawn(4, channels=1)
    for store in (None, tmp_path):
        assert lenet(dtype="float16", store=store).transform(source).dtype == np.float16
        assert lenet(store=store).transform(source).dtype == np.float32


# ---- the store ------------------------------------------------------------------------------------------------------


def test_second_transform_computes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, layers = drawn(6, channels=1), ["pool2", "conv1:avg"]
    first = lenet(layers, store=tmp_path).transform(source)
    monkeypatch.setattr("featx.extraction.forward.Forward.__call__", explode)
    np.testing.assert_array_equal(lenet(layers, store=tmp_path, batch_size=2).transform(source.images), first)
    with pytest.raises(AssertionError):
        lenet(layers).transform(source)  # without a store everything is computed


def test_other_images_are_other_features(tmp_path: Path) -> None:
    source = drawn(6, channels=1)
    extractor = lenet(store=tmp_path)
    whole = extractor.transform(source.images)
    np.testing.assert_array_equal(extractor.transform(source.images[::-1]), whole[::-1])
    changed = source.images.copy()
    changed[2] ^= 255
    again = extractor.transform(changed)
    assert [bool((a == b).all()) for a, b in zip(again, whole, strict=True)] == [True, True, False, True, True, True]


def test_without_a_store_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATX_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    lenet().fit_transform(drawn(3, channels=1).images)
    assert not list(tmp_path.iterdir())


# ---- what it refuses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((2, 8, 8)),
        np.zeros((2, 8, 8), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((2, 8, 8, 4), np.uint8),
        np.zeros((2, 64)),
        [],
        None,
    ],
)
def test_wrong_images_are_refused(X: Any) -> None:
    with pytest.raises(FeatxError, match=r"expected uint8|no images"):
        lenet().transform(X)


@pytest.mark.parametrize("layers", [None, 5, [5], [None], ["pool2", 5], {"pool2": 1}.items()])
def test_layers_of_another_type_are_refused(layers: Any) -> None:
    with pytest.raises(OptionError, match="layers is"):
        lenet(layers).fit(drawn(2).images)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backbone": "lenet6"}, "lenet5"),
        ({"layers": "pol2"}, "pool2"),
        ({"weights": "random:x"}, "random:SEED"),
        ({"size": 0}, "size"),
        ({"device": "tpu"}, "cuda"),
        ({"mean": (0.5, 0.5)}, "mean"),
    ],
)
def test_options_that_cannot_be_are_refused_with_what_could(options: dict[str, Any], said: str) -> None:
    made = FeatureExtractor(**{"backbone": "lenet5", "layers": "pool2", "weights": "random:0", **options})
    with pytest.raises(OptionError) as caught:
        made.transform(drawn(2, channels=1).images)
    assert said in str(caught.value)


def test_broken_image_is_named_and_leaves_no_features(tmp_path: Path, png: Any) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(png(0))
    bad.write_bytes(png(1)[:60])
    for store in (None, tmp_path / "home"):
        with pytest.raises(ImageError, match=r"bad\.png"):
            lenet(store=store).transform([good, bad])
    with pytest.raises(SourceError):
        lenet().transform(np.zeros((0, 8, 8), np.uint8))


def test_every_way_to_resize_sees_another_image_and_none_needs_equal_sizes() -> None:
    wide = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), np.uint8)
    ways = {
        how: FeatureExtractor("pixels", "pixels", size=None if how == "none" else 16, resize=how).transform(wide)
        for how in ("crop", "squash", "pad", "none")
    }
    assert ways["none"].shape == (2, 32 * 64 * 3)
    np.testing.assert_array_equal(ways["none"].reshape(2, 3, 32, 64), wide.transpose(0, 3, 1, 2) / np.float32(255))
    three = [ways[how] for how in ("crop", "squash", "pad")]
    assert all(rows.shape == (2, 16 * 16 * 3) for rows in three)
    assert not any(np.array_equal(a, b) for a, b in [(three[0], three[1]), (three[0], three[2]), (three[1], three[2])])
    assert (three[2].reshape(2, 3, 16, 16)[:, :, [0, -1]] == 0).all()  # black above and below


def test_interpolation_is_the_one_asked_for() -> None:
    small = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    rows = [
        FeatureExtractor("pixels", "pixels", size=16, interpolation=how).transform(small)
        for how in ("bilinear", "bicubic")
    ]
    assert not np.array_equal(*rows)
    with pytest.raises(OptionError, match="interpolation"):
        FeatureExtractor("pixels", "pixels", size=16, interpolation="cubist").transform(small)


@pytest.mark.parametrize("stored", [False, True])
def test_pattern_gives_its_layers_side_by_side(tmp_path: Path, stored: bool) -> None:
    X, store = drawn(3, channels=1).images, tmp_path if stored else None
    several = lenet(["relu4", "pool*:avg"], store=store).transform(X)
    np.testing.assert_array_equal(several, lenet(["relu4", "pool1:avg", "pool2:avg"]).transform(X))
    assert several.shape == (3, 84 + 6 + 16)
