"""The public names: found when they are used, and not before."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import pytest

import featx


def test_every_public_name_is_the_one_its_module_defines() -> None:
    assert sorted(featx.__all__) == sorted(featx._WHERE) == sorted(dir(featx))
    for name in featx.__all__:
        found = getattr(featx, name)
        assert found.__name__ == name
        assert found.__doc__
        assert getattr(sys.modules[featx._WHERE[name]], name) is found


def test_star_import_gives_the_public_names() -> None:
    space: dict[str, Any] = {}
    exec("from featx import *", space)
    assert set(featx.__all__) <= set(space)


def test_unknown_name_is_an_attribute_error_that_names_it() -> None:
    assert not hasattr(featx, "FeatureExtracter")
    with pytest.raises(AttributeError, match="FeatureExtracter"):
        _ = featx.FeatureExtracter
    with pytest.raises(ImportError):
        exec("from featx import torch")


@pytest.mark.parametrize(
    ("name", "positional", "keywords"),
    [
        (
            "FeatureExtractor",
            ["backbone", "layers"],
            {"weights", "size", "precision", "dtype", "batch_size", "device", "store"},
        ),
        ("EndToEndClassifier", ["backbone"], {"mode", "head", "epochs", "batch_size", "lr", "device", "seed", "store"}),
        ("SoftmaxRegression", ["C"], {"tol", "max_iter", "standardize", "normalize", "penalty", "device"}),
        ("SoftmaxRegressionCV", ["Cs"], {"cv", "tol", "max_iter", "standardize", "normalize", "device"}),
        ("FeatureStore", ["home"], set()),
    ],
)
def test_constructors_take_the_command_lines_names(name: str, positional: list[str], keywords: set[str]) -> None:
    parameters = inspect.signature(getattr(featx, name)).parameters.values()
    assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == positional
    assert keywords <= {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert not [p for p in parameters if p.kind is p.VAR_KEYWORD]  # a typo must not be swallowed
