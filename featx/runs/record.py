"""What a run writes down of itself: one dictionary for ``run.json``, the model, the history."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from featx.core.concatenation import Feature, as_feature
from featx.core.device import pick_device, processor_name
from featx.core.executors.worker import crowd
from featx.core.metrics import SCALARS, Scores
from featx.core.packages import version
from featx.core.run_folder import Run, Runs
from featx.core.run_locks import held
from featx.core.specs import ExtractConfig, Precision
from featx.data.coverage import conflicts
from featx.data.exclusion import EXCLUDED_FILE
from featx.data.missing_classes import missing_classes
from featx.data.splits import Part, Partition
from featx.extraction.benchmark import Timing
from featx.models.backbones import Backbone
from featx.models.content import digests_of
from featx.models.families import versions
from featx.portable import HEADER
from featx.probes.probe import ProbeResult
from featx.probes.several_networks import NetworkChoice
from featx.reports.identity import label_digest
from featx.reports.predictions import save_predictions
from featx.runs.asked import asked_for
from featx.runs.fit_record import fit_fields, layer_lines, network_lines, save_model
from featx.runs.kept_tensors import held_fields, keep_base, kept_tensors
from featx.training.config import TrainConfig
from featx.training.resume import identity_of

if TYPE_CHECKING:
    from featx.training.train import TrainResult  # torchvision, which a fit can do without

HISTORY_FILE = "history.csv"
HISTORY_COLUMNS = (
    *("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"),
    *("seconds", "images_per_second"),
)
CURVES = "curves"
"""Name of the pictures of a training's curves."""
PICTURES = ("png", "svg", "pdf")
"""Their kinds, and what their names end in."""
_PROGRAMS = ("featx", "torch", "torchvision", "scikit-learn", "numpy", "h5py", "pillow")


@contextlib.contextmanager
def new_run(home: Path, kind: str, command: list[str]) -> Iterator[Run]:
    """Open a run's folder, before the work that may fail; one that writes no record leaves nothing behind."""
    run = Runs(home).new(kind, command)
    with held(run):
        try:
            yield run
        finally:
            run.discard()


def record_fit(
    run: Run,
    partition: Partition,
    backbone: Backbone,
    layer: Feature | str,
    extraction: ExtractConfig,
    result: ProbeResult,
    layers: Mapping[str, ProbeResult] | None = None,
    *,
    identity: Mapping[str, Any] | None = None,
    keep_weights: bool = False,
    readout: Mapping[str, Any] | None = None,
    choice: NetworkChoice | None = None,
) -> dict[str, Any]:
    """Write a fit's run and return its record.

    ``model.safetensors`` holds ``coef_`` (k, d) and ``intercept_`` (k,); ``model_classes`` of the record says
    which of ``classes`` each row of them is. Of few labels, model, confusion and test predictions are the first
    draw's. Where several `layers` were fitted, the record is that of `layer`, and lists what was found of all. By its
    `identity` (`featx.runs.fit_identity`) the run is found again, where the same is asked for. With `keep_weights` the
    network's tensors lie beside the model, so that the run needs no other file. A `readout`
    (`featx.models.readouts`) says where the layer came from; a `choice`, among which networks the backbone was chosen.
    """
    if keep_weights:
        keep_base(run, backbone)
    save_model(run, result, partition.classes)
    _keep_predictions(run, result.scored, result.scores)
    record = _common(run, partition, backbone, extraction.precision, result.scores) | {
        "layer": str(as_feature(layer)),
        "readout": readout,
        **fit_fields(result),
        "seed": partition.seed,
        "identity": digests_of(identity)[0] if identity is not None else None,
        "extraction": asdict(backbone.asked) | asdict(extraction),
        "layers": layer_lines(layers) if layers else None,
        "device": result.device or str(pick_device(extraction.device)),
        "held": held_fields(backbone),
    }
    record["hardware"] |= _where(result)
    if choice is not None and len(choice.networks) > 1:
        record["choice"]["networks"] = network_lines(partition, choice)
    run.write(record)
    return record


def _where(result: ProbeResult) -> dict[str, Any]:
    """Return what is to be said of the processes that fitted, where they were others than this one."""
    return {} if not result.executor else {"threads": result.threads, "executor": result.executor}


def record_train(
    run: Run,
    partition: Partition,
    backbone: Backbone,
    config: TrainConfig,
    result: TrainResult,
    inference: Timing | None = None,
    *,
    keep_weights: bool = False,
) -> dict[str, Any]:
    """Write a training's run, its weights, history, curves and test predictions, and return its record.

    Of how quick the trained network is, `inference`, nothing need be known. On a frozen base the head alone is kept,
    unless `keep_weights` asks for all: the base is found by the hash of its tensors.
    """
    tensors, kept = kept_tensors(result.module, backbone, config, everything=keep_weights)
    run.save_tensors(tensors, header=_calibrated_header(result))
    run.write_text(HISTORY_FILE, _csv(result.history))
    _draw(run, result, f"{backbone.name} {config.mode} on {Path(partition.train.source.spec).name}")
    _keep_predictions(run, result.scored, result.scores)
    record = _common(run, partition, backbone, config.precision, result.scores) | {
        **asdict(config),
        "lr": config.peak_lr,
        "weight_decay": config.decay,
        "augment": result.augmentation.kind,
        "standardize": True if config.mode == "frozen" else None,
        "notes": result.notes,
        "identity": digests_of(identity_of(partition, backbone, config))[0],
        "kept": kept,
        "held": held_fields(backbone),
        "best_epoch": result.best_epoch,
        "history": result.history,
        "parameters": result.parameters,
        "parameter_bytes": {name: 4 * count for name, count in result.parameters.items()},
        "calibration": None if result.calibration is None else result.calibration.as_dict(),
        "cached": result.cached,
        "skipped": result.skipped,
        "images_per_second": result.images_per_second,
        "seconds_per_epoch": result.seconds["train"] / max(1, len(result.history)),
        "inference": asdict(inference) if inference else None,
        "device": result.device,
        "processes": result.processes,
        "processor": processor_name(torch.device(result.device)),
        "seconds": result.seconds,
    }
    run.write(record)
    return record


def _keep_predictions(run: Run, scored: Mapping[str, Part], scores: Mapping[str, Scores]) -> None:
    if "test" in scores:
        said = scores["test"]
        save_predictions(run, scored["test"], said.predicted, said.probability, said.losses, said.in_top5, said.briers)


def _calibrated_header(result: TrainResult) -> dict[str, str] | None:
    """Return what the file of a network says of its calibration, which is in no tensor: they are the network's own."""
    found = result.calibration
    return None if found is None else {HEADER: json.dumps({"calibration": found.scaling.as_dict()})}


def _draw(run: Run, result: TrainResult, title: str) -> None:
    from featx.reports.figures import training_curves  # heavy

    for kind, data in training_curves(result.history, result.best_epoch, title, PICTURES).items():
        run.write_bytes(f"{CURVES}.{kind}", data)


def _common(
    run: Run, partition: Partition, backbone: Backbone, precision: Precision, scores: Mapping[str, Scores]
) -> dict[str, Any]:
    parts = partition.parts()
    return {
        "run": run.id,
        "path": str(run.path),
        "source": partition.train.source.spec,
        "asked": asked_for(partition, backbone),
        "classes": list(partition.classes),
        "images": int(scores["train"].confusion.sum()),
        "rows": {name: int(s.confusion.sum()) for name, s in scores.items()},
        "splits": {name: part.source.split for name, part in parts.items()},
        "fingerprints": {name: source.fingerprint() for name, source in partition.sources().items()},
        "labels": {name: label_digest(source.labels.tobytes()) for name, source in partition.sources().items()},
        "limit": partition.limit,
        "per_class": partition.per_class,
        "val_size": partition.val_size,
        **_excluded(run, partition),
        "shared_with_test": partition.count_leaked(),
        "missing_classes": missing_classes(
            {name: s.confusion for name, s in scores.items()}, partition.classes, partition.wanted()
        ),
        "unlabelled": dict(partition.unlabelled),
        "conflicting": conflicts(partition.sources().values()).as_dict(),
        "backbone": backbone.name,
        "options": backbone.options,
        "code": backbone.code,
        "origin": backbone.origin,
        "weights": backbone.weights,
        "weights_file": backbone.file,
        "weights_sha256": backbone.weights_sha256,
        "preprocess": backbone.preprocess.as_dict(),
        "views": str(backbone.preprocess.views) or None,
        "precision": precision,
        "seed": partition.seed,
        **{scalar: {name: getattr(s, scalar) for name, s in scores.items()} for scalar in SCALARS},
        "confusion": {name: s.confusion for name, s in scores.items()},
        "versions": {
            "python": platform.python_version(),
            **{n: version(n) for n in _PROGRAMS},
            **versions(backbone.name),
        },
        "hardware": {
            "machine": platform.machine(),
            "processors": os.cpu_count(),
            "threads": torch.get_num_threads(),
            **({"executor": crowd()} if crowd() else {}),
        },
    }


def _excluded(run: Run, partition: Partition) -> dict[str, Any]:
    """Keep the list of what was left out with the run, and return what its record says of it."""
    found = partition.excluded
    if found is None:
        return {"excluded": None, "excluded_rows": None}
    run.write_text(EXCLUDED_FILE, found.exclusion.as_csv())
    return {"excluded": found.exclusion.digest, "excluded_rows": found.counts()}


def _csv(history: list[dict[str, float]]) -> str:
    text = io.StringIO()
    names = [name for name in HISTORY_COLUMNS if name in history[-1]]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()
