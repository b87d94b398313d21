"""Softmax regression on features: the protocol of ``featx fit``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import counted, drawn, explode, parts, some_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from featx.cache.store import FeatureStore
from featx.core.specs import ExtractConfig, LayerSpec
from featx.data.sources import load_source, load_splits
from featx.data.splits import Part, Partition, partition
from featx.errors import FeatureError, OptionError, SourceError
from featx.extraction.compute import compute
from featx.models.backbones import resolve
from featx.probes import check_array
from featx.probes.config import FitConfig
from featx.probes.layer_rows import LayerRows
from featx.probes.probe import best_layer, fit_layers, fit_probe
from featx.probes.streaming import Stream

pytestmark = pytest.mark.usefixtures("one_thread")

PIXELS = resolve("pixels", channels=1)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "home")


def test_pixels_of_digits(store: FeatureStore) -> None:
    cut = partition(load_splits("digits"))
    result = fit_probe(cut, PIXELS, "pixels", store)
    assert result.scores["test"].accuracy > 0.93
    assert result.model.converged_
    assert result.columns == 64
    assert result.bytes == 1797 * 64 * 4
    assert {n: int(s.confusion.sum()) for n, s in result.scores.items()} == {n: len(p) for n, p in cut.parts().items()}


def test_scores_are_the_models_own_on_each_part(store: FeatureStore) -> None:
    source = some_digits(300)
    cut = parts(source, 200, 40)
    backbone = resolve("lenet5", weights="random:0", channels=1)
    result = fit_probe(cut, backbone, LayerSpec("pool2"), store, config=FitConfig(C=0.5))
    X = compute(source, backbone, ["pool2"])["pool2"]
    scaler = StandardScaler().fit(X[:200].astype(float))
    reference = LogisticRegression(C=0.5, tol=1e-8, max_iter=3000).fit(scaler.transform(X[:200]), source.labels[:200])
    for name, rows in (("train", slice(0, 200)), ("val", slice(200, 240)), ("test", slice(240, 300))):
        proba = reference.predict_proba(scaler.transform(X[rows]))
        loss = -np.log(proba[np.arange(len(proba)), source.labels[rows]]).mean()
        assert result.scores[name].loss == pytest.approx(loss, abs=2e-3)
        assert result.scores[name].accuracy == pytest.approx(
            (proba.argmax(1) == source.labels[rows]).mean(), abs=1.5 / len(proba)
        )


def test_options_reach_the_fit(store: FeatureStore) -> None:
    cut = parts(some_digits(200), 120, 40)
    found = {
        C: fit_probe(cut, PIXELS, "pixels", store, config=FitConfig(C=C)).scores["train"].loss for C in (0.001, 1.0)
    }
    assert found[0.001] > 2 * found[1.0]
    plain = fit_probe(cut, PIXELS, "pixels", store, config=FitConfig(standardize=False)).model
    assert not plain.standardize
    assert plain.objective_ != fit_probe(cut, PIXELS, "pixels", store).model.objective_
    with pytest.warns(match="did not converge"):
        short = fit_probe(cut, PIXELS, "pixels", store, config=FitConfig(max_iter=1)).model
    assert (short.n_iter_, short.converged_) == (1, False)


def test_second_fit_computes_nothing(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = parts(drawn(30), 20, 4)
    backbone = resolve("lenet5", weights="random:0")
    first = fit_probe(cut, backbone, "pool2:avg", store)
    assert [line["computed"] for line in first.extraction.layers] == [30]
    monkeypatch.setattr("featx.extraction.forward.Forward.__call__", explode)
    again = fit_probe(parts(drawn(30), 15, 6), backbone, "pool2:avg", store, config=FitConfig(C=0.1))
    assert [line["computed"] for line in again.extraction.layers] == [0]
    with pytest.raises(AssertionError):
        fit_probe(cut, backbone, "pool1:avg", store)


@pytest.fixture
def broken(tmp_path: Path, png: Any) -> Path:
    """Three cats, three dogs and three emus in class folders; one image of each kind is cut short."""
    for seed in range(9):
        path = tmp_path / "photos" / ("cat", "dog", "emu")[seed % 3] / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(seed, 32, 32)[: 200 if seed in (0, 4, 8) else None])
    return tmp_path / "photos"


def rows_of(source: Any, train: list[int], val: list[int], test: list[int]) -> Partition:
    first, second, third = (Part(source, np.array(rows)) for rows in (train, val, test))
    return Partition(first, second, third, 0)


def test_skipped_images_leave_rows_out_of_features_and_labels_alike(
    broken: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = load_source(broken)
    assert list(source.ids)[:3] == ["cat/0.png", "cat/3.png", "cat/6.png"]
    cut = rows_of(source, [0, 1, 3, 4, 5, 8], [2, 6], [7])
    read: dict[str, Any] = {}
    whole = LayerRows.read

    def noted(self: LayerRows, use: str, **how: Any) -> Any:
        read[use] = found = whole(self, use, **how)
        return found

    monkeypatch.setattr(LayerRows, "read", noted)
    backbone = resolve("lenet5", weights="random:0")
    result = fit_probe(cut, backbone, "pool2:avg", store, ExtractConfig(on_error="skip"))
    assert [image["id"] for image in result.extraction.skipped] == ["cat/0.png", "dog/4.png", "emu/8.png"]
    good = [1, 2, 3, 5, 6, 7]
    expected = dict(
        zip(good, compute(source.subset(np.array(good)), backbone, ["pool2:avg"])["pool2:avg"], strict=True)
    )
    for use, left in (("train", [1, 3, 5]), ("val", [2, 6]), ("test", [7])):
        X, y = read[use]
        np.testing.assert_allclose(X, np.stack([expected[row] for row in left]), rtol=1e-4, atol=1e-5)
        assert y.tolist() == source.labels[left].tolist()
    assert {n: int(s.confusion.sum()) for n, s in result.scores.items()} == {"train": 3, "val": 2, "test": 1}


def test_part_whose_images_were_all_skipped_has_no_score(broken: Path, store: FeatureStore) -> None:
    source = load_source(broken)
    cut = rows_of(source, [1, 2, 3, 5], [6, 7], [0])
    backbone = resolve("lenet5", weights="random:0")
    result = fit_probe(cut, backbone, "pool2:avg", store, ExtractConfig(on_error="skip"))
    assert set(result.scores) == {"train", "val"}


def test_class_that_only_tests_costs_a_finite_loss(store: FeatureStore) -> None:
    source = some_digits(90, classes=(0, 1, 2))
    order = np.argsort(source.labels, kind="stable")
    cut = parts(source.subset(order), int((source.labels < 2).sum()), 0)
    result = fit_probe(cut, PIXELS, "pixels", store)
    assert result.scores["test"].accuracy == 0
    assert np.isfinite(result.scores["test"].loss)


def test_single_class_is_refused(store: FeatureStore) -> None:
    with pytest.raises(SourceError, match="1 class") as caught:
        fit_probe(parts(some_digits(20, classes=(4,)), 10, 5), PIXELS, "pixels", store)
    assert caught.value.hint


def test_what_cannot_be_is_refused(store: FeatureStore) -> None:
    cut = parts(drawn(10), 6, 2)
    with pytest.raises(OptionError, match="no layer"):
        fit_probe(cut, PIXELS, "pixel", store)
    bad = drawn(10)
    bad.images = bad.images[:, :16]
    with pytest.raises(FeatureError, match="NaN"):
        fit_probe(parts(bad, 6, 2), resolve("pixels", std=(1e-45,)), "pixels", store)


def test_figures_go_into_json(store: FeatureStore) -> None:
    result = fit_probe(parts(some_digits(100), 70, 15), PIXELS, "pixels", store)
    assert json.loads(json.dumps(result.extraction.as_dict(), allow_nan=False))["layers"][0]["rows"] == 100
    seconds = json.loads(json.dumps(result.seconds, allow_nan=False))
    assert list(seconds) == ["extract", "read", "fit", "score", "total"]
    assert seconds["total"] == pytest.approx(sum(seconds[n] for n in ("extract", "read", "fit", "score")))


@pytest.mark.parametrize("layer", ["pool*", "all:avg"])
def test_pattern_is_no_layer_to_fit_on(store: FeatureStore, layer: str) -> None:
    backbone = resolve("lenet5", weights="random:0", channels=1)
    with pytest.raises(OptionError, match="expected one to fit on"):
        fit_probe(parts(some_digits(60), 40, 10), backbone, layer, store)


def test_several_layers_are_fitted_after_one_pass_and_the_validation_rows_choose(store: FeatureStore) -> None:
    cut = parts(some_digits(200), 120, 40)
    backbone = resolve("lenet5", weights="random:0", channels=1)
    results = fit_layers(cut, backbone, ["fc2", "pool*"], store)
    assert list(results) == ["fc2", "pool1", "pool2"]
    for name, result in results.items():
        alone = fit_probe(cut, backbone, name, store)
        assert result.scores["test"].accuracy == alone.scores["test"].accuracy
        assert (result.bytes, result.columns) == (alone.bytes, alone.columns)
        assert {line["layer"] for line in result.extraction.layers} == {name}
    best = best_layer(results)
    assert results[best].scores["val"].accuracy == max(r.scores["val"].accuracy for r in results.values())


def test_layers_cannot_be_chosen_without_validation_rows(store: FeatureStore) -> None:
    backbone = resolve("lenet5", weights="random:0", channels=1)
    results = fit_layers(parts(some_digits(60), 50, 0), backbone, ["fc1", "fc2"], store)
    with pytest.raises(SourceError, match="no validation rows"):
        best_layer(results)
    assert best_layer({"fc1": results["fc1"]}) == "fc1"


def test_what_is_larger_than_memory_is_streamed(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = partition(load_splits("digits"))
    expected = fit_probe(cut, PIXELS, "pixels", store)
    seen = []
    monkeypatch.setattr(check_array, "HELD_BYTES", 0)
    monkeypatch.setattr(Stream, "blocks", counted(Stream.blocks, seen, lambda self: self.shape))
    found = fit_probe(cut, PIXELS, "pixels", store)
    assert (len(cut.train), 64) in seen
    np.testing.assert_allclose(found.model.coef_, expected.model.coef_, atol=1e-4)
    assert {n: s.accuracy for n, s in found.scores.items()} == {n: s.accuracy for n, s in expected.scores.items()}
