"""EndToEndClassifier: a whole network as a scikit-learn classifier."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import counted, drawn, explode, some_digits
from PIL import Image
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score

from featx.cache.store import FeatureStore
from featx.data.arrays import ArraySource
from featx.data.splits import Partition
from featx.errors import FeatureError, FeatxError, OptionError, SourceError
from featx.training import end_to_end
from featx.training.config import MODES, TrainConfig
from featx.training.end_to_end import EndToEndClassifier
from featx.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


def lenet(**options: Any) -> EndToEndClassifier:
    quick = {"mode": "scratch", "epochs": 1, "batch_size": 16, "augment": "none", "weights": "random:0"}
    return EndToEndClassifier("lenet5", **{**quick, **options})


@pytest.fixture(scope="module")
def fitted() -> EndToEndClassifier:
    digits = some_digits(300)
    return lenet(epochs=2).fit(digits.images, digits.labels)


@pytest.fixture
def partitions(monkeypatch: pytest.MonkeyPatch) -> list[Partition]:
    """Every partition that is trained on."""
    seen: list[Partition] = []
    monkeypatch.setattr(end_to_end, "train", counted(train, seen, lambda partition, *_, **__: partition))
    return seen


# ---- as scikit-learn wants it ---------------------------------------------------------------------------------------


def test_learns_digits() -> None:
    digits = some_digits(1400)
    X, y = digits.images[..., 0], digits.labels
    model = lenet(epochs=4, lr=0.03).fit(X[:1000], y[:1000])
    assert model.score(X[1000:], y[1000:]) > 0.8
    assert len(model.history_) == 4
    assert 1 <= model.best_epoch_ <= 4


def test_text_labels_come_back() -> None:
    digits = some_digits(200, classes=(0, 1))
    y = np.where(digits.labels == 0, "zero", "one")
    model = lenet(epochs=4, lr=0.05).fit(digits.images, y)
    assert model.classes_.tolist() == ["one", "zero"]
    assert set(model.predict(digits.images)) == {"one", "zero"}
    assert model.score(digits.images, y) > 0.9
    assert lenet().fit(digits.images, y.tolist()).classes_.tolist() == ["one", "zero"]


def test_numbers_that_are_no_positions_come_back() -> None:
    digits = some_digits(60, classes=(0, 1))
    y = np.where(digits.labels == 0, 40, -7)
    model = lenet().fit(digits.images, y)
    assert model.classes_.tolist() == [-7, 40]
    assert set(model.predict(digits.images)) <= {-7, 40}


def test_probabilities_and_logits_agree(fitted: EndToEndClassifier) -> None:
    X = some_digits(30, seed=4).images
    probabilities, logits = fitted.predict_proba(X), fitted.decision_function(X)
    assert probabilities.shape == logits.shape == (30, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), rtol=1e-4)
    np.testing.assert_array_equal(fitted.predict(X), fitted.classes_[probabilities.argmax(axis=1)])


def test_two_classes_have_one_decision_value() -> None:
    digits = some_digits(90, classes=(2, 5))
    model = lenet(epochs=2).fit(digits.images, digits.labels)
    decision = model.decision_function(digits.images)
    assert decision.shape == (90,)
    np.testing.assert_array_equal(model.predict(digits.images), (decision > 0).astype(int))
    odds = model.predict_proba(digits.images)
    np.testing.assert_allclose(decision, np.log(odds[:, 1] / odds[:, 0]), atol=1e-4)
    scores = cross_val_score(lenet(), digits.images, digits.labels, cv=2, scoring="roc_auc", error_score="raise")
    assert scores.shape == (2,)


def test_grid_search_over_the_mode() -> None:
    digits = some_digits(160, classes=(0, 1, 2))
    search = GridSearchCV(lenet(lr=0.05, epochs=3), {"mode": list(MODES)}, cv=2, error_score="raise")
    search.fit(digits.images, digits.labels)
    scores = search.cv_results_["mean_test_score"]
    assert search.best_score_ == max(scores)
    assert len(set(scores)) > 1
    assert set(search.predict(digits.images)) <= {0, 1, 2}


def test_grid_search_over_heads_and_optimizers() -> None:
    digits = some_digits(120, classes=(0, 1))
    grid = {"head": ["linear", "flat-mlp:8"], "optimizer": ["sgd", "adamw"]}
    search = GridSearchCV(lenet(lr=0.01), grid, cv=2, error_score="raise").fit(digits.images, digits.labels)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.predict_proba(digits.images).shape == (120, 2)


def test_parameters_are_the_options_of_a_training() -> None:
    names = {field.name for field in fields(TrainConfig)} - {"checkpoint_minutes"}
    parameters = EndToEndClassifier().get_params()
    assert names <= set(parameters)
    assert {name: parameters[name] for name in names} == {name: getattr(TrainConfig, name) for name in names}


def test_clone_has_the_parameters_and_is_not_fitted(fitted: EndToEndClassifier) -> None:
    copied = clone(fitted)
    assert copied.get_params() == fitted.get_params()
    assert is_classifier(copied)
    for method in (copied.predict, copied.predict_proba, copied.decision_function):
        with pytest.raises(NotFittedError):
            method(drawn(2, channels=1).images)


def test_pickle_predicts_the_same(fitted: EndToEndClassifier) -> None:
    X = some_digits(20, seed=4).images
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).decision_function(X), fitted.decision_function(X))


def test_constructor_checks_nothing_and_fit_everything() -> None:
    digits = some_digits(20)
    for wrong in ({"mode": "freeze"}, {"epochs": 0}, {"lr": -1.0}, {"augment": "x"}, {"head": "x"}, {"precision": "x"}):
        with pytest.raises(OptionError, match=f"^{next(iter(wrong))} is "):
            lenet(**wrong).fit(digits.images, digits.labels)


# ---- what it is fitted on -------------------------------------------------------------------------------------------


def test_held_out_tenth_is_disjoint_and_of_every_class(partitions: list[Partition]) -> None:
    digits = some_digits(200)
    lenet().fit(digits)
    lenet(seed=1).fit(digits)
    first, second = partitions
    for partition in partitions:
        train, val = set(partition.train.rows.tolist()), set(partition.val.rows.tolist())
        assert not train & val
        assert train | val == set(range(200))
        assert 15 <= len(val) <= 25
        assert set(partition.val.labels) == set(range(10))
        assert len(partition.test) == 0
    assert set(first.val.rows.tolist()) != set(second.val.rows.tolist())


def test_copies_of_an_image_are_never_on_both_sides(partitions: list[Partition]) -> None:
    digits = some_digits(60)
    lenet().fit(np.concatenate([digits.images] * 3), np.tile(digits.labels, 3))
    (partition,) = partitions
    assert not set(partition.train.rows % 60) & set(partition.val.rows % 60)


def test_arrays_paths_and_sources_train_the_same(tmp_path: Path) -> None:
    source = drawn(20, channels=3)
    names = [str(tmp_path / f"{i:02d}.png") for i in range(20)]
    for image, name in zip(source.images, names, strict=True):
        Image.fromarray(image).save(name)
    y = np.array(source.classes)[source.labels]
    # The held-out rows are chosen by content, and a file's is its bytes: without them, all is the same.
    models = [lenet(epochs=2).fit(*data) for data in ((source.images, y), (source, None), (source, y))]
    for model in models[1:]:
        np.testing.assert_array_equal(model.predict_proba(names), models[0].predict_proba(source))
    assert lenet().fit(names, y).predict(names).shape == (20,)


def test_rows_without_a_label_are_left_out(partitions: list[Partition]) -> None:
    source = some_digits(60)
    source.labels[10:20] = -1
    model = lenet().fit(source)
    used = np.concatenate([partitions[0].train.rows, partitions[0].val.rows])
    assert sorted(used) == [*range(10), *range(20, 60)]
    assert model.predict(source).shape == (60,)


def test_seed_decides_everything() -> None:
    digits = some_digits(60)
    first, again, other = (lenet(seed=seed).fit(digits).predict_proba(digits) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_fits_in_threads_are_those_of_one_after_another() -> None:
    digits = some_digits(60)
    models = [lenet(seed=seed, head="mlp:8:dropout=0.5", epochs=2, weights="DEFAULT") for seed in range(3)]
    alone = [clone(model).fit(digits).predict_proba(digits) for model in models]
    state = torch.get_rng_state()
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda model: model.fit(digits).predict_proba(digits), models))
    np.testing.assert_array_equal(alone, together)
    assert torch.equal(state, torch.get_rng_state())


def test_frozen_base_is_computed_once_with_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = some_digits(60)
    lenet(mode="frozen", store=tmp_path).fit(digits)
    monkeypatch.setattr("featx.extraction.forward.Forward.__call__", explode)
    model = lenet(mode="frozen", store=FeatureStore(tmp_path), lr=0.01).fit(digits.images, digits.labels)
    assert model.predict(digits).shape == (60,)
    with pytest.raises(AssertionError):
        lenet(mode="frozen").fit(digits)


def test_predictions_do_not_depend_on_the_batch_size(fitted: EndToEndClassifier) -> None:
    X, one = some_digits(30, seed=4).images, clone(fitted)
    vars(one).update({**vars(fitted), "batch_size": 1})
    np.testing.assert_allclose(one.decision_function(X), fitted.decision_function(X), rtol=1e-4, atol=1e-4)
    assert not any(module.training for module in fitted.module_.modules())


# ---- what it refuses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (np.zeros(20), "one class, expected two or more"),
        (np.linspace(0, 1, 20), "continuous"),
        (np.r_[np.arange(19) % 2, np.nan], "NaN"),
        (np.zeros((20, 2)), r"y has shape \(20, 2\), expected \(20,\)"),
        ([0, 1] * 9, r"y has shape \(18,\), expected \(20,\)"),
        ("ab", "got 'ab'"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")  # scikit-learn's own, of NaN
def test_labels_that_are_no_classes_are_refused(y: Any, said: str) -> None:
    with pytest.raises((ValueError, FeatxError), match=said):
        lenet().fit(drawn(20, channels=1).images, y)


def test_images_without_labels_are_refused() -> None:
    with pytest.raises(SourceError, match="no labels"):
        lenet().fit(ArraySource(drawn(4).images))


def test_one_class_is_refused_in_words() -> None:
    with pytest.raises(SourceError, match="one class"):
        lenet().fit(drawn(8, channels=1).images, ["cat"] * 8)


@pytest.mark.parametrize(
    ("X", "said"),
    [
        (np.zeros((2, 8, 8)), "float64 .*expected uint8"),
        (np.zeros((0, 8, 8), np.uint8), "there are no images"),
        ([], "there are no images"),
        (None, "NoneType, expected uint8"),
    ],
)
def test_wrong_images_are_refused(fitted: EndToEndClassifier, X: Any, said: str) -> None:
    for method in (fitted.predict, fitted.predict_proba):
        with pytest.raises(FeatxError, match=said):
            method(X)
    with pytest.raises(FeatxError, match=said):
        lenet().fit(X, [0, 1])


def test_failed_fit_leaves_the_last_one() -> None:
    digits = some_digits(40, classes=(0, 1))
    model = lenet().fit(digits)
    before = model.predict_proba(digits)
    with pytest.raises(FeatureError):
        model.set_params(lr=1e6, epochs=30).fit(some_digits(60))
    np.testing.assert_array_equal(model.predict_proba(digits), before)
    assert isinstance(model.module_, torch.nn.Module)
    assert model.classes_.tolist() == ["0", "1"]
