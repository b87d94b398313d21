"""The public names: found when they are used, and not before."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import featx

HEAVY = ("torch", "torchvision", "sklearn", "h5py", "matplotlib")


def loaded_after(code: str, folder: Path) -> set[str]:
    """Run code in a fresh interpreter and return the heavy packages that it loaded."""
    script = f"{code}\nimport sys\nprint(*[n for n in {HEAVY!r} if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return set(found.stdout.split())


def test_importing_featx_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded_after("import featx; dir(featx); featx.LayerSpec; featx.Runs", tmp_path) == set()
    assert "torch" in loaded_after("from featx import SoftmaxRegression", tmp_path)  # the check can fail


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
