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

    from featx.audit.similarity import similarity
    from featx.cache.store import FeatureStore, FeatureTable
    from featx.core.run_folder import Run, Runs
    from featx.core.specs import LayerSpec
    from featx.data.sources import load_source
    from featx.errors import FeatxError
    from featx.extraction.extractor import FeatureExtractor
    from featx.probes.calibrators import TemperatureScaling, VectorScaling
    from featx.probes.softmax import SoftmaxRegression
    from featx.probes.softmax_cv import SoftmaxRegressionCV
    from featx.training.end_to_end import EndToEndClassifier

_WHERE = {
    "EndToEndClassifier": "featx.training.end_to_end",
    "FeatureExtractor": "featx.extraction.extractor",
    "FeatureStore": "featx.cache.store",
    "FeatureTable": "featx.cache.store",
    "FeatxError": "featx.errors",
    "LayerSpec": "featx.core.specs",
    "Run": "featx.core.run_folder",
    "Runs": "featx.core.run_folder",
    "SoftmaxRegression": "featx.probes.softmax",
    "SoftmaxRegressionCV": "featx.probes.softmax_cv",
    "TemperatureScaling": "featx.probes.calibrators",
    "VectorScaling": "featx.probes.calibrators",
    "load_source": "featx.data.sources",
    "similarity": "featx.audit.similarity",
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
    "TemperatureScaling",
    "VectorScaling",
    "load_source",
    "similarity",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'featx' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
