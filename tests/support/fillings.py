"""Extractions of noise through LeNet-5, in this process or in another one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.cache.store import FeatureStore
from featx.core.specs import ExtractConfig, Progress, no_progress
from featx.data.arrays import ArraySource
from featx.extraction import fill_store
from featx.extraction.extract import ExtractResult, extract
from featx.extraction.forward import Forward
from featx.models.backbones import Backbone, resolve

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8)
CONFIG = ExtractConfig(batch_size=8, device="cpu", workers=1)


def images(rows: Any) -> ArraySource:
    """Return some of the 64 images."""
    return ArraySource(PIXELS[np.asarray(rows)])


def lenet5(weights: str = "random:0") -> Backbone:
    """Return the network."""
    return resolve("lenet5", weights=weights, size=32, channels=1)


def go(source: ArraySource, home: Path, backbone: Backbone, progress: Progress = no_progress) -> ExtractResult:
    """Extract two layers."""
    return extract({"all": source}, backbone, ["fc1", "conv1:avg"], FeatureStore(home), CONFIG, progress)


def small_shards(patch: pytest.MonkeyPatch) -> None:
    """Make shards and blocks of four rows."""
    patch.setattr(fill_store, "plan_shard_rows", lambda n_rows, row_bytes: 4)


def extract_slowly(home: Path, started: Any, seconds: float) -> None:
    """Extract all images; each forward pass takes so long, and the first one sets `started`."""
    patch = pytest.MonkeyPatch()
    small_shards(patch)
    run = Forward.__call__

    def slowly(self: Forward, *views: Any) -> Any:
        started.set()
        time.sleep(seconds)
        return run(self, *views)

    patch.setattr(Forward, "__call__", slowly)
    go(images(range(64)), home, lenet5())
