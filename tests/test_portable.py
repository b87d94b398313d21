"""Saved models: the same predictions with numpy alone, and what is wrong with a file is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from featx.errors import CorruptStoreError, OptionError
from featx.portable import Scaling, read_model, write_model
from featx.probes.softmax import SoftmaxRegression
from featx.probes.softmax_cv import SoftmaxRegressionCV

pytestmark = pytest.mark.usefixtures("one_thread")


def blobs(k: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(k)
    y = np.arange(90) % k
    return rng.standard_normal((90, 5)) + 2 * np.eye(5)[y], np.array(["ant", "bee", "cat", "dog"])[y]


@pytest.mark.parametrize("normalize", [None, "l2"])
@pytest.mark.parametrize("k", [2, 4])
def test_a_saved_model_predicts_the_same(tmp_path: Path, k: int, normalize: str | None) -> None:
    X, y = blobs(k)
    model = SoftmaxRegression(C=0.3, standardize=True, normalize=normalize).fit(X, y)
    path = model.save(tmp_path / "model.safetensors")
    back = SoftmaxRegression.load(path)
    np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))
    assert back.get_params() == model.get_params()
    alone = read_model(path)
    np.testing.assert_array_equal(alone.predict(X), model.predict(X))
    np.testing.assert_allclose(alone.predict_proba(X), model.predict_proba(X), atol=1e-12)
    assert alone.params["C"] == 0.3
    assert set(load_file(path)) == {"coef_", "intercept_"}


@pytest.mark.parametrize("labels", [np.array([3, 1, 7]), np.array([True, False, True]), np.array([0.5, 1.5, 0.5])])
def test_labels_keep_their_type(tmp_path: Path, labels: Any) -> None:
    X = np.random.default_rng(0).standard_normal((30, 3))
    model = SoftmaxRegression().fit(X, (labels[np.arange(30) % 3] * 2).astype(labels.dtype))
    back = read_model(model.save(tmp_path / "model.safetensors"))
    assert back.classes.dtype.kind == labels.dtype.kind
    np.testing.assert_array_equal(back.predict(X), model.predict(X))


def test_numpy_and_safetensors_are_enough(tmp_path: Path) -> None:
    X, y = blobs(4)
    model = SoftmaxRegression().fit(X, y)
    path = model.save(tmp_path / "model.safetensors")
    np.save(tmp_path / "X.npy", X)
    code = f"""
import sys
import numpy as np
from featx.portable import read_model
print(*read_model({str(path)!r}).predict(np.load({str(tmp_path / "X.npy")!r})))
print(*(name for name in ("torch", "sklearn", "scipy", "h5py", "pickle5") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    predicted, loaded = done.stdout.split("\n")[:2]
    assert predicted.split() == model.predict(X).tolist()
    assert loaded == ""


@pytest.mark.parametrize("k", [2, 4])
def test_a_calibrated_model_is_another_format_and_scales_its_logits(tmp_path: Path, k: int) -> None:
    X, y = blobs(k)
    model = SoftmaxRegression().fit(X, y)
    parts = {"coef": model.coef_, "intercept": model.intercept_, "classes": model.classes_, "normalize": None}
    scaling = Scaling("vector", np.linspace(0.5, 2, k), np.linspace(-1 / 3, 0.1, k))
    plain = read_model(write_model(tmp_path / "plain.safetensors", **parts))
    back = read_model(write_model(tmp_path / "model.safetensors", **parts, calibration=scaling))
    assert back.calibration is not None
    np.testing.assert_array_equal([back.calibration.scale, back.calibration.offset], [scaling.scale, scaling.offset])
    np.testing.assert_array_equal(back.logits(X), plain.logits(X) * scaling.scale + scaling.offset)
    np.testing.assert_array_equal(back.coef, plain.coef)
    headers = [(tmp_path / f"{name}.safetensors").read_bytes()[:2000] for name in ("plain", "model")]
    assert [b'\\"format\\": 1' in header for header in headers] == [True, False]
    short = Scaling("vector", np.ones(k + 1), np.zeros(k + 1))
    with pytest.raises(CorruptStoreError, match="calibration"):
        read_model(write_model(tmp_path / "short.safetensors", **parts, calibration=short))


def test_the_cv_estimator_is_saved_too(tmp_path: Path) -> None:
    X, y = blobs(4)
    model = SoftmaxRegressionCV([0.1, 1.0], cv=2).fit(X, y)
    path = model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(SoftmaxRegressionCV.load(path).predict(X), model.predict(X))
    with pytest.raises(OptionError, match="holds no SoftmaxRegression"):
        SoftmaxRegression.load(path)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(CorruptStoreError, match="no file"):
        read_model(path)
    path.write_bytes(b"not safetensors")
    with pytest.raises(CorruptStoreError, match="not a model saved by featx"):
        read_model(path)
    save_file({"coef_": np.eye(3), "intercept_": np.zeros(3)}, path)
    with pytest.raises(CorruptStoreError, match="not a model saved by featx"):
        read_model(path)
    for coef, intercept, classes in ((3, 2, 3), (3, 3, 2), (1, 1, 3)):
        write_model(
            path, coef=np.ones((coef, 4)), intercept=np.zeros(intercept), classes=np.arange(classes), normalize=None
        )
        with pytest.raises(CorruptStoreError, match="do not match"):
            read_model(path)


def test_columns_must_fit(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "m.safetensors", coef=np.eye(3), intercept=np.zeros(3), classes=np.arange(3), normalize=None
    )
    with pytest.raises(OptionError, match=r"\(2, 4\), expected \(n, 3\)"):
        read_model(path).predict(np.zeros((2, 4)))


def test_labels_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="labels of type"):
        write_model(
            tmp_path / "m.safetensors",
            coef=np.eye(3),
            intercept=np.zeros(3),
            classes=np.array([b"a", b"b", b"c"]),
            normalize=None,
        )
    assert not (tmp_path / "m.safetensors").exists()


def test_numbers_of_numpy_and_weights_by_class_come_back(tmp_path: Path) -> None:
    X, y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 2
    model = SoftmaxRegression(np.float32(0.5), class_weight={0: 2.0, 1: np.float64(1)}, max_iter=np.int64(50)).fit(X, y)
    back = SoftmaxRegression.load(model.save(tmp_path / "model.safetensors"))
    assert (back.C, back.class_weight, back.max_iter) == (0.5, {0: 2.0, 1: 1.0}, 50)
