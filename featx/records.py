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

import torch

from featx.backbones import Backbone
from featx.bench import Timing
from featx.device import processor_name
from featx.fit_record import fit_fields, layer_lines, save_model
from featx.metrics import Scores
from featx.naming import versions
from featx.predictions import save_predictions
from featx.probe import ProbeResult
from featx.resume import identity_of
from featx.runs import Run, Runs
from featx.specs import ExtractConfig, LayerSpec, digest_of
from featx.splits import Partition
from featx.train_config import TrainConfig
from featx.training import TrainResult

HISTORY_FILE = "history.csv"
HISTORY_COLUMNS = (
    *("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"),
    *("seconds", "images_per_second"),
)
CURVES = "curves"
"""Name of the pictures, which end in .png and .svg."""
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
    layer: LayerSpec | str,
    extraction: ExtractConfig,
    result: ProbeResult,
    layers: Mapping[str, ProbeResult] | None = None,
) -> dict[str, Any]:
    """Write a fit's run and return its record.

    ``model.safetensors`` holds ``coef_`` (k, d) and ``intercept_`` (k,); ``model_classes`` of the record says
    which of ``classes`` each row of them is. Of few labels, model and confusion are the first draw's. Where several
    `layers` were fitted, the record is that of `layer`, and lists what was found of all.
    """
    save_model(run, result, partition.classes)
    record = _common(run, partition, backbone, extraction, result.scores) | {
        "layer": str(layer),
        **fit_fields(result),
        "seed": partition.seed,
        "extraction": asdict(extraction),
        "layers": layer_lines(layers) if layers else None,
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
    inference: Timing | None = None,
) -> dict[str, Any]:
    """Write a training's run, its weights, history, curves and test predictions, and return its record.

    Of how quick the trained network is, `inference`, nothing need be known.
    """
    tensors = {name: tensor.numpy() for name, tensor in result.module.state_dict().items()}
    run.save_tensors(tensors)
    run.write_text(HISTORY_FILE, _csv(result.history))
    _draw(run, result, f"{backbone.name} {config.mode} on {Path(partition.train.source.spec).name}")
    if "test" in result.scored:
        save_predictions(run, result.scored["test"], result.predicted)
    record = _common(run, partition, backbone, extraction, result.scores) | {
        **asdict(config),
        "lr": config.peak_lr,
        "weight_decay": config.decay,
        "augment": result.augmentation.kind,
        "standardize": True if config.mode == "frozen" else None,
        "notes": result.notes,
        "identity": digest_of(identity_of(partition, backbone, config)),
        "best_epoch": result.best_epoch,
        "history": result.history,
        "parameters": result.parameters,
        "parameter_bytes": {name: 4 * count for name, count in result.parameters.items()},
        "cached": result.cached,
        "skipped": result.skipped,
        "images_per_second": result.images_per_second,
        "seconds_per_epoch": result.seconds["train"] / max(1, len(result.history)),
        "inference": asdict(inference) if inference else None,
        "device": result.device,
        "processor": processor_name(torch.device(result.device)),
        "seconds": result.seconds,
    }
    run.write(record)
    return record


def _draw(run: Run, result: TrainResult, title: str) -> None:
    from featx.figures import training_curves  # heavy

    for kind, data in training_curves(result.history, result.best_epoch, title).items():
        run.write_bytes(f"{CURVES}.{kind}", data)


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
        "code": backbone.code,
        "origin": backbone.origin,
        "weights": backbone.weights,
        "weights_file": backbone.file,
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


def _csv(history: list[dict[str, float]]) -> str:
    text = io.StringIO()
    names = [name for name in HISTORY_COLUMNS if name in history[-1]]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()
