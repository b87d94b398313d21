"""Two models compared image by image: what counts as the same, and what is said where it is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from featx.core.specs import LayerSpec
from featx.data.sources import Source, load_source
from featx.errors import FeatureError
from featx.extraction.inputs import as_source
from featx.models.backbones import resolve
from featx.portable import LinearModel
from featx.runs.export_parity import as_input, check_parity
from featx.runs.exportable import exportable
from featx.runs.predictors import LinearPredictor, Predictor


@pytest.fixture
def digits() -> Source:
    return load_source("digits", limit=40)


@pytest.fixture
def predictor() -> Predictor:
    """A head with random coefficients on pixels; the second of four classes was never seen."""
    generator = np.random.default_rng(0)
    model = LinearModel(generator.normal(size=(3, 64)), generator.normal(size=3), np.array([0, 2, 3]))
    from featx.core.specs import ExtractConfig

    backbone = resolve("pixels", channels=1)
    return LinearPredictor(tuple("abcd"), backbone, LayerSpec("pixels"), model, ExtractConfig())


@pytest.fixture
def run(predictor: Predictor) -> Callable[[np.ndarray], np.ndarray]:
    import torch

    model = exportable(predictor, (1, 8, 8))
    return lambda images: np.asarray(model(torch.from_numpy(images)))


def test_the_model_itself_is_the_same(predictor: Predictor, run: Callable, digits: Source) -> None:
    found = check_parity(predictor, run, digits)
    assert found.images == 40
    assert 0 < found.largest_difference < 1e-6
    assert np.isneginf(run(np.zeros((2, 1, 8, 8), np.float32))[:, 1]).all()


def test_every_kind_of_difference_is_found(predictor: Predictor, run: Callable, digits: Source) -> None:
    with pytest.raises(FeatureError, match=r"differ from featx's own by .*, at image .*: nothing was written"):
        check_parity(predictor, lambda images: run(images * np.float32(0.99)), digits)
    assert check_parity(predictor, lambda images: run(images * np.float32(0.99)), digits, 0.1).images == 40
    with pytest.raises(FeatureError, match="shape"):
        check_parity(predictor, lambda images: run(images)[:, :3], digits)
    with pytest.raises(FeatureError, match="not finite"):
        check_parity(predictor, lambda images: np.nan_to_num(run(images)), digits)
    with pytest.raises(FeatureError, match="not finite"):
        check_parity(predictor, lambda images: run(images) * np.nan, digits)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_run_whose_own_logits_are_not_finite_is_not_compared(
    predictor: Predictor, digits: Source, value: float
) -> None:
    assert isinstance(predictor, LinearPredictor)
    predictor.model.intercept[:] = value
    with pytest.raises(FeatureError, match=r"own model gives image .* no finite logits"):
        check_parity(predictor, lambda images: _logits(predictor, images), digits)


def test_a_model_for_one_size_of_batch_is_found(predictor: Predictor, run: Callable, digits: Source) -> None:
    def of_many(images: np.ndarray) -> np.ndarray:
        return run(images) if len(images) > 1 else run(images) + 1

    with pytest.raises(FeatureError, match="differ"):
        check_parity(predictor, of_many, digits)


def test_another_class_is_no_parity_however_near(run: Callable, digits: Source) -> None:
    from featx.core.specs import ExtractConfig

    model = LinearModel(np.zeros((2, 64)), np.array([0.0, 1e-6]), np.arange(2))
    near = LinearPredictor(tuple("ab"), resolve("pixels", channels=1), LayerSpec("pixels"), model, ExtractConfig())
    with pytest.raises(FeatureError, match="another class"):
        check_parity(near, lambda images: np.full((len(images), 2), 0.0), digits)


def test_images_are_given_as_values_from_0_to_1(predictor: Predictor) -> None:
    pixels = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8, 1)
    found = as_input(pixels)
    assert (found.dtype, found.shape) == (np.float32, (2, 1, 8, 8))
    np.testing.assert_array_equal(found[1, 0, 2], pixels[1, 2, :, 0].astype(np.float32) / np.float32(255))
    assert check_parity(predictor, lambda x: _logits(predictor, x), as_source(pixels, 1)).images == 2


def _logits(predictor: Predictor, images: np.ndarray) -> np.ndarray:
    assert isinstance(predictor, LinearPredictor)
    full = np.full((len(images), 4), -np.inf)
    full[:, predictor.model.classes] = predictor.model.logits(images.reshape(len(images), -1))
    return full
