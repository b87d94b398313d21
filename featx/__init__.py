"""featx: freeze once, probe many times.

A pretrained network's activations are computed once, kept in a content-addressed HDF5 store, and read back by
every later experiment; beside it, end-to-end training says on the same splits whether freezing was good enough.

The names below are loaded when they are first used: importing featx loads neither torch nor scikit-learn.
"""

from __future__ import annotations

# Nothing is imported here: what comes before the entry point's first line cannot be interrupted without a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from featx.cache.store import FeatureStore, FeatureTable
    from featx.end_to_end import EndToEndClassifier
    from featx.errors import FeatxError
    from featx.extractor import FeatureExtractor
    from featx.runs import Run, Runs
    from featx.softmax import SoftmaxRegression
    from featx.softmax_cv import SoftmaxRegressionCV
    from featx.sources import load_source
    from featx.specs import LayerSpec

_WHERE = {
    "EndToEndClassifier": "featx.end_to_end",
    "FeatureExtractor": "featx.extractor",
    "FeatureStore": "featx.cache.store",
    "FeatureTable": "featx.cache.store",
    "FeatxError": "featx.errors",
    "LayerSpec": "featx.specs",
    "Run": "featx.runs",
    "Runs": "featx.runs",
    "SoftmaxRegression": "featx.softmax",
    "SoftmaxRegressionCV": "featx.softmax_cv",
    "load_source": "featx.sources",
}

__all__ = [
    "EndToEndClassifier",
    "FeatureExtractor",
    "FeatureStore",
    "FeatureTable",
    "FeatxError",
    "LayerSpec",
    "Run",
    "Runs",
    "SoftmaxRegression",
    "SoftmaxRegressionCV",
    "load_source",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'featx' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
