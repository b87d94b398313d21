"""How heads are fitted: what is chosen is chosen without the test rows, and few labels are drawn by the seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from featx.errors import OptionError, SourceError
from featx.probes.config import RECIPES, SWEEPS, FitConfig
from featx.probes.evaluation import draw_rows, fit_head
from featx.probes.softmax import SoftmaxRegression

pytestmark = pytest.mark.usefixtures("one_thread")


def parts(seed: int = 0, test_seed: int = 1) -> Any:
    def rows(n: int, random: np.random.Generator) -> Any:
        y = random.integers(0, 3, n)
        X = random.standard_normal((n, 15))
        X[:, :3] += 1.2 * np.eye(3)[y]
        return X.astype(np.float32), y

    random = np.random.default_rng(seed)
    return {"train": rows(150, random), "val": rows(80, random), "test": rows(60, np.random.default_rng(test_seed))}


@pytest.mark.parametrize(
    "config",
    [FitConfig(sweep="clip"), FitConfig(sweep="kornblith"), FitConfig(sweep="simclr-sgd"), FitConfig(head="knn")],
)
def test_nothing_is_chosen_by_the_test_rows(config: FitConfig) -> None:
    one, other = fit_head(parts(), config, 3), fit_head(parts(test_seed=2), config, 3)
    assert one.search == other.search
    assert one.config == other.config
    assert one.scores["val"].accuracy == other.scores["val"].accuracy
    assert one.scores["test"].loss != other.scores["test"].loss


def test_a_sweep_refits_on_train_and_validation_and_scores_validation_blind() -> None:
    data = parts()
    found = fit_head(data, FitConfig(sweep="clip", standardize=True), 3)
    C = found.search["chosen"]
    assert found.config.C == C
    assert (found.config.standardize, found.config.normalize) == (False, None)
    assert found.search["accuracy"][found.search["values"].index(C)] == max(found.search["accuracy"])
    blind = SoftmaxRegression(C).fit(*data["train"])
    assert found.scores["val"].accuracy == blind.score(*data["val"]) == max(found.search["accuracy"])
    both = [np.concatenate([a, b]) for a, b in zip(data["train"], data["val"], strict=True)]
    np.testing.assert_allclose(found.model.coef_, SoftmaxRegression(C).fit(*both).coef_, atol=1e-6)
    assert found.search["origin"] == SWEEPS["clip"].origin


def test_kornblith_is_on_rows_of_length_one() -> None:
    found = fit_head(parts(), FitConfig(sweep="kornblith"), 3)
    assert found.config.normalize == "l2"
    X = parts()["test"][0]
    np.testing.assert_allclose(found.model.predict_proba(X), found.model.predict_proba(X * 9), atol=1e-5)


def test_a_recipe_learns_from_the_training_rows_alone_and_says_where_it_is_from() -> None:
    data = parts()
    found = fit_head(data, FitConfig(sweep="simclr-sgd", seed=5), 3)
    alone = fit_head({**data, "val": parts(seed=9)["val"]}, FitConfig(sweep="simclr-sgd", seed=5), 3)
    np.testing.assert_array_equal(found.model.coef_, alone.model.coef_)
    assert (found.search["over"], found.search["values"], found.search["chosen"]) == ("epochs", [90], 90)
    assert found.search["origin"] == RECIPES["simclr-sgd"].origin
    assert found.scores["train"].accuracy > 0.6


def test_neighbours_choose_k_on_the_validation_rows_unless_told() -> None:
    data = parts()
    found = fit_head(data, FitConfig(head="knn"), 3)
    assert found.search["values"] == [10, 20, 100, 200]
    assert found.model.k == found.config.k == found.search["chosen"]
    assert found.scores["val"].accuracy == max(found.search["accuracy"])
    told = fit_head(data, FitConfig(head="knn", k=3), 3)
    assert (told.model.k, told.search) == (3, {})


def test_few_labels_are_means_of_draws_with_an_interval() -> None:
    data = parts()
    found = fit_head(data, FitConfig(shots=4, draws=5, seed=3), 3)
    values, balanced = [], []
    for draw in range(5):
        rows = draw_rows(data["train"][1], 4, [3, draw])
        X, y = (part[rows] for part in data["train"])
        assert np.bincount(y).tolist() == [4, 4, 4]
        model = SoftmaxRegression(standardize=True).fit(X, y)
        values.append(model.score(*data["test"]))
        balanced.append(balanced_accuracy_score(data["test"][1], model.predict(data["test"][0])))
    told = found.draws["test"]
    assert told["values"] == values
    assert found.scores["test"].accuracy == pytest.approx(np.mean(values))
    assert found.scores["test"].balanced_accuracy == pytest.approx(np.mean(balanced))
    expected = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert told["interval"] == pytest.approx(list(expected))
    again, other = (fit_head(data, FitConfig(shots=4, draws=5, seed=seed), 3) for seed in (3, 4))
    assert again.draws == found.draws
    assert other.draws != found.draws


def test_too_few_rows_are_named() -> None:
    data = parts()
    with pytest.raises(SourceError, match=r"class 0 has .* expected at least 100"):
        fit_head(data, FitConfig(shots=100), 3)
    empty = {**data, "val": (data["val"][0][:0], data["val"][1][:0])}
    for config in (FitConfig(sweep="clip"), FitConfig(head="knn")):
        with pytest.raises(SourceError, match="no validation rows"):
            fit_head(empty, config, 3)


def test_class_missing_from_the_validation_rows() -> None:
    data = parts()
    X, y = data["val"]
    data["val"] = X[y < 2], y[y < 2]
    for config in (FitConfig(sweep="clip"), FitConfig(head="knn"), FitConfig(head="svm")):
        assert fit_head(data, config, 3).scores["test"].accuracy > 0.4


@pytest.mark.parametrize(
    "options",
    [
        {"head": "tree"},
        {"sweep": "clp"},
        {"penalty": "l3"},
        {"normalize": "l1"},
        {"class_weight": "even"},
        {"l1_ratio": 1.5},
        {"k": 0, "head": "knn"},
        {"shots": 0},
        {"draws": 0},
        {"sweep": "clip", "head": "knn"},
        {"sweep": "clip", "shots": 5},
        {"sweep": "clip", "penalty": "l1"},
        {"head": "svm", "penalty": "l1"},
        {"head": "ridge", "class_weight": "balanced"},
        {"k": 5},
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=rf"\b{next(iter(options))}( is |=)"):
        FitConfig(**options)
