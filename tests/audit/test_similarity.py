"""Layers compared by CKA, distances and neighbours; the sample, what is refused, and rows that a layer lacks."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import pearsonr, spearmanr
from store_samples import Sample

import featx
from featx.audit import similarity as module
from featx.audit.rows import StackedRows, rows_in_all
from featx.audit.similarity import similarity
from featx.cache.table import FeatureTable
from featx.cli.networks import short_names
from featx.errors import OptionError

Array = np.ndarray[Any, np.dtype[np.float64]]


def drawn(n: int, columns: int, seed: int = 0) -> Array:
    return np.random.default_rng([n, columns, seed]).normal(size=(n, columns))


@pytest.fixture
def layers() -> dict[str, Array]:
    X = drawn(60, 6)
    return {"X": X, "mixed": X @ drawn(6, 9) + 0.5 * drawn(60, 9), "other": drawn(60, 4)}


def test_the_example_gives_what_it_says() -> None:
    found = doctest.testmod(module)
    assert (found.attempted, found.failed) == (5, 0)
    assert featx.similarity is similarity


def test_rsa_is_scipys_correlation_of_scipys_distances(layers: dict[str, Array]) -> None:
    found = similarity(layers)
    for i, left in enumerate(layers.values()):
        for j, right in enumerate(layers.values()):
            pair = pdist(left), pdist(right)
            assert found.pearson[i, j] == pytest.approx(pearsonr(*pair).statistic, abs=1e-9)
            assert found.spearman[i, j] == pytest.approx(spearmanr(*pair).statistic, abs=1e-9)


def nearest(X: Array, k: int) -> list[set[int]]:
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -2)
    return [set(row[:k].tolist()) for row in np.argsort(-similar, axis=1)]


@pytest.mark.parametrize("k", [1, 10])
def test_mutual_neighbours_are_the_mean_share_in_common(layers: dict[str, Array], k: int) -> None:
    found = similarity(layers, neighbours=k)
    for i, left in enumerate(layers.values()):
        for j, right in enumerate(layers.values()):
            pairs = zip(nearest(left, k), nearest(right, k), strict=True)
            assert found.knn[i, j] == pytest.approx(np.mean([len(a & b) / k for a, b in pairs]))
    assert found.knn_shuffled == k / 59


def test_independent_layers_have_neighbours_in_common_by_chance() -> None:
    found = similarity({"a": drawn(800, 30), "b": drawn(800, 20)}, neighbours=40)
    assert found.knn[0, 1] == pytest.approx(found.knn_shuffled, abs=0.01)
    assert abs(found.pearson[0, 1]) < 0.02


def test_the_same_up_to_an_orthogonal_map_a_shift_and_a_scale_is_1() -> None:
    X = drawn(200, 5)
    turned = X @ np.linalg.qr(drawn(5, 5))[0]
    found = similarity({"X": X, "turned": 1e3 * turned})
    for values in (found.cka, found.biased, found.pearson, found.spearman, found.knn):
        assert values == pytest.approx(np.ones((2, 2)), abs=1e-9)
    assert similarity({"X": X, "shifted": turned + 100}).pearson == pytest.approx(np.ones((2, 2)), abs=1e-9)


def test_the_seed_draws_the_sample_and_cka_takes_all_rows() -> None:
    layers = {"a": drawn(300, 6), "b": drawn(300, 6) + drawn(300, 6, seed=1)}
    one, same, other = (similarity(layers, sample=50, seed=seed) for seed in (0, 0, 1))
    assert one.as_dict() == same.as_dict()
    assert one.sample == 50
    assert np.array_equal(one.cka, other.cka)
    assert one.pearson[0, 1] != other.pearson[0, 1]
    assert np.array_equal(similarity(layers, seed=0).knn, similarity(layers, seed=1).knn)


def test_few_rows_have_fewer_neighbours() -> None:
    found = similarity({"a": drawn(4, 3), "b": drawn(4, 2)})
    assert (found.rows, found.sample, found.neighbours) == (4, 4, 2)


def test_layers_without_structure_are_named() -> None:
    found = similarity({"X": drawn(50, 4), "flat": np.ones((50, 2)), "even": np.eye(50)})
    assert found.undefined == {"flat": module.CONSTANT, "even": module.EVEN}
    for values in (found.cka, found.pearson, found.spearman, found.knn):
        assert np.isnan(values).tolist() == [[False, True, True], [True] * 3, [True] * 3]


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"a": drawn(9, 2)}, "two or more"),
        ({"a": drawn(3, 2), "b": drawn(3, 2)}, "3 row"),
        ({"a": drawn(9, 2), "b": drawn(8, 2)}, "a 9, b 8"),
        ({"a": drawn(9, 2), "b": drawn(9, 2)[:, 0]}, "'b' have shape"),
        ({"a": drawn(9, 2), "b": drawn(9, 2)[:, :0]}, "'b' have shape"),
    ],
)
def test_what_cannot_be_compared_is_refused(features: dict[str, Array], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        similarity(features)


@pytest.mark.parametrize("options", [{"sample": 3}, {"sample": 5001}, {"neighbours": 0}])
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(OptionError):
        similarity({"a": drawn(9, 2), "b": drawn(9, 2)}, **options)


def test_rows_that_one_layer_lacks_are_left_out_of_all(tmp_path: Path) -> None:
    samples = {
        "a": Sample(10, 3, layer="a", skipped={2: "torn"}),
        "b": Sample(10, 5, layer="b", skipped={7: "torn", 2: "torn"}),
    }
    tables: dict[str, dict[str, FeatureTable]] = {
        name: {"train": sample.table(tmp_path), "test": sample.table(tmp_path)} for name, sample in samples.items()
    }
    features, counts, lacking = rows_in_all(tables)
    kept = [row for row in range(10) if row not in (2, 7)]
    assert (counts, lacking) == ({"train": 8, "test": 8}, 4)
    for name, sample in samples.items():
        expected = np.concatenate([sample.X[kept], sample.X[kept]])
        assert features[name].shape == expected.shape
        assert np.array_equal(features[name][:], expected)
        assert np.array_equal(features[name][5:11], expected[5:11])
        assert np.array_equal(features[name][np.array([0, 7, 8, 15])], expected[[0, 7, 8, 15]])
    found = similarity(features)
    assert found.cka == pytest.approx(similarity({name: rows[:] for name, rows in features.items()}).cka)


def test_stacked_rows_are_read_across_their_seams(tmp_path: Path) -> None:
    one, two = (Sample(n, 3, layer=f"of{n}") for n in (6, 5))
    stacked = StackedRows([one.table(tmp_path).X, two.table(tmp_path).X])
    whole = np.concatenate([one.X, two.X])
    for start in range(12):
        for stop in range(12):
            assert np.array_equal(stacked[start:stop], whole[start:stop])


@pytest.mark.parametrize(
    ("networks", "names"),
    [
        ([("resnet18", "DEFAULT")], [""]),
        ([("resnet18", "DEFAULT"), ("lenet5", "DEFAULT")], ["resnet18", "lenet5"]),
        ([("resnet18", "DEFAULT"), ("resnet18", "random:0")], ["DEFAULT", "random:0"]),
        ([("a/net.py:make", "x/w.pth"), ("b/net.py:make", "DEFAULT")], ["net.py:make w.pth", "net.py:make DEFAULT"]),
        ([("a/net.py:make", "w.pth"), ("b/net.py:make", "w.pth")], ["a/net.py:make w.pth", "b/net.py:make w.pth"]),
        ([("resnet18", "a/w.pth"), ("resnet18", "b/w.pth")], ["resnet18 a/w.pth", "resnet18 b/w.pth"]),
    ],
)
def test_names_are_short_and_tell_networks_apart(networks: list[tuple[str, str]], names: list[str]) -> None:
    assert short_names(networks) == names
