"""Images that a test draws, and their parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from featx.data.arrays import ArraySource
from featx.data.sources import load_source
from featx.data.splits import Part, Partition
from featx.models.backbones import Backbone
from featx.training.batches import ImageLoader, chunks

CPU = torch.device("cpu")


def explode(*_: Any, **__: Any) -> Any:
    """Stand where nothing may be computed."""
    raise AssertionError("something was computed that was there already")


def drawn(n: int, k: int = 2, px: int = 32, channels: int = 3, seed: int = 0) -> ArraySource:
    """Noise, class c brighter in its own stripe; labels 0 to k - 1 in turn."""
    labels = np.arange(n) % k
    images = np.random.default_rng(seed).integers(0, 128, (n, px, px, channels))
    for image, label in zip(images, labels, strict=True):
        image[label * px // k : (label + 1) * px // k] += 100
    return ArraySource(images.astype(np.uint8), labels.astype(np.int64), classes=tuple("abcdefghij"[:k]), spec="drawn")


def parts(source: ArraySource, train: int, val: int, seed: int = 0) -> Partition:
    """Cut a source: the first rows train, the next validate, the others test."""
    rows = np.arange(len(source))
    return Partition(
        Part(source, rows[:train]), Part(source, rows[train : train + val]), Part(source, rows[train + val :]), seed
    )


def some_digits(n: int, classes: Sequence[int] = tuple(range(10)), seed: int = 0) -> ArraySource:
    """Draw n of scikit-learn's digits from some classes, in a shuffled order."""
    digits = load_source("digits")
    assert isinstance(digits, ArraySource)
    rows = np.flatnonzero(np.isin(digits.labels, classes))
    chosen = digits.subset(np.random.default_rng(seed).permutation(rows)[:n])
    chosen.labels = np.searchsorted(classes, chosen.labels).astype(np.int64)
    chosen.classes = tuple(map(str, classes))
    return chosen


def logits_of(module: nn.Module, backbone: Backbone, source: Any) -> npt.NDArray[np.float32]:
    """Run a whole network over a source as training's evaluation does, without any cache."""
    loader = ImageLoader(Part(source, np.arange(len(source))), backbone, 32, CPU)
    with torch.inference_mode():
        outputs = [module(x).numpy() for _, x in loader.batches(chunks(loader.part.rows, 32), None)]
    return np.concatenate(outputs)


def counted(function: Callable[..., Any], calls: list[Any], of: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, noting ``of(arguments)`` at each call."""

    def wrapper(*args: Any, **options: Any) -> Any:
        calls.append(of(*args, **options))
        return function(*args, **options)

    return wrapper
