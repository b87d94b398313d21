"""What a run writes down of itself: one dictionary for ``run.json``, the model, the history."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from featx.backbones import Backbone
from featx.metrics import Scores
from featx.naming import versions
from featx.probe import ProbeResult
from featx.runs import Run, Runs
from featx.specs import ExtractConfig, FitConfig, LayerSpec, TrainConfig
from featx.splits import Partition
from featx.training import TrainResult, augment_of, lr_of

HISTORY_FILE = "history.csv"
_PROGRAMS = ("featx", "torch", "torchvision", "scikit-learn", "numpy", "h5py", "pillow")


@contextlib.contextmanager
def new_run(home: Path, kind: str, command: list[str]) -> Iterator[Run]:
    """Open a run's folder, before the work that may fail; one that writes no record leaves nothing behind."""
    run = Runs(home).new(kind, command)
    try:
        yield run
    finally:
        run.discard()


def record_fit(
    run: Run,
    partition: Partition,
    backbone: Backbone,
    layer: LayerSpec,
    extraction: ExtractConfig,
    config: FitConfig,
    result: ProbeResult,
) -> dict[str, Any]:
    """Write a softmax regression's run and return its record.

    ``model.safetensors`` holds ``coef_`` (k, d) and ``intercept_`` (k,); ``model_classes`` of the record says
    which of ``classes`` each row of them is.
    """
    model = result.model
    run.save_tensors({"coef_": model.coef_, "intercept_": model.intercept_})
    record = _common(run, partition, backbone, extraction, result.scores) | {
        "layer": str(layer),
        "model_classes": model.classes_,
        **asdict(config),
        "seed": partition.seed,
        "extraction": asdict(extraction),
        "converged": bool(model.converged_),
        "gradient_norm": float(model.gradient_norm_),
        "objective": float(model.objective_),
        "n_iter": int(model.n_iter_),
        "columns": result.columns,
        "bytes": result.bytes,
        "keys": {line["split"]: line["key"] for line in result.extraction.layers},
        "computed": sum(line["computed"] for line in result.extraction.layers),
        "reused": sum(line["reused"] for line in result.extraction.layers),
        "skipped": result.extraction.skipped,
        "batch_size": result.extraction.batch_size,
        "notes": result.extraction.notes,
        "seconds": result.seconds,
        "parameters": _probe_parameters(model),
    }
    run.write(record)
    return record


def record_train(
    run: Run,
    partition: Partition,
    backbone: Backbone,
    extraction: ExtractConfig,
    config: TrainConfig,
    result: TrainResult,
) -> dict[str, Any]:
    """Write a training's run, its weights and its history, and return its record."""
    tensors = {name: tensor.numpy() for name, tensor in result.module.state_dict().items()}
    run.save_tensors(tensors)
    run.write_text(HISTORY_FILE, _csv(result.history))
    record = _common(run, partition, backbone, extraction, result.scores) | {
        **asdict(config),
        "lr": lr_of(config),
        "augment": augment_of(config),
        "best_epoch": result.best_epoch,
        "history": result.history,
        "parameters": result.parameters,
        "cached": result.cached,
        "images_per_second": result.images_per_second,
        "device": result.device,
        "seconds": result.seconds,
    }
    run.write(record)
    return record


def _common(
    run: Run, partition: Partition, backbone: Backbone, extraction: ExtractConfig, scores: Mapping[str, Scores]
) -> dict[str, Any]:
    parts = partition.parts()
    return {
        "run": run.id,
        "path": str(run.path),
        "source": partition.train.source.spec,
        "classes": list(partition.classes),
        "images": int(scores["train"].confusion.sum()),
        "rows": {name: int(s.confusion.sum()) for name, s in scores.items()},
        "splits": {name: part.source.split for name, part in parts.items()},
        "fingerprints": {name: source.fingerprint() for name, source in partition.sources().items()},
        "shared_with_test": partition.shared_with_test(),
        "backbone": backbone.name,
        "options": backbone.options,
        "weights": backbone.weights,
        "weights_sha256": backbone.weights_sha256,
        "preprocess": backbone.preprocess.as_dict(),
        "views": str(backbone.preprocess.views) or None,
        "precision": extraction.precision,
        "seed": partition.seed,
        "accuracy": {name: s.accuracy for name, s in scores.items()},
        "loss": {name: s.loss for name, s in scores.items()},
        "confusion": {name: s.confusion for name, s in scores.items()},
        "versions": {
            "python": platform.python_version(),
            **{n: version(n) for n in _PROGRAMS},
            **versions(backbone.name),
        },
        "hardware": {"machine": platform.machine(), "processors": os.cpu_count()},
    }


def _probe_parameters(model: Any) -> dict[str, int]:
    total = int(model.coef_.size + model.intercept_.size)
    return {"total": total, "trainable": total, "frozen": 0}


def _csv(history: list[dict[str, float]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[-1]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()
