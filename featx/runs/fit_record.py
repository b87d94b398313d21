"""What a run of ``featx fit`` writes down of its heads, and the model it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from featx.core.run_folder import BLIND_FILE, MODEL_FILE, Run
from featx.data.splits import Partition
from featx.portable import Scaling, write_model
from featx.probes.classifiers import linear_parts
from featx.probes.config import OF_HEADS, RECIPES, FitConfig
from featx.probes.halving import Halving
from featx.probes.probe import ProbeResult
from featx.probes.several_networks import NetworkChoice
from featx.runs.asked import asked_for


def fit_fields(result: ProbeResult) -> dict[str, Any]:
    """Return what a fit adds to the fields that all runs have.

    ``C``, ``k``, ``standardize`` and ``normalize`` are what was fitted with in the end; `search` says how they were
    chosen, `draws` what each draw of few labels gave, `calibration` what is done to the logits and what it changed.
    The certificate is None for heads that have none.
    """
    model = result.model
    lines = result.extraction.layers
    return {
        **_used(result.config),
        "model_classes": model.classes_,
        "search": result.search or None,
        "draw_scores": result.draws or None,
        "choice": None if result.halving is None else result.halving.as_dict(),
        "calibration": None if result.calibration is None else result.calibration.as_dict(),
        "converged": getattr(model, "converged_", None),
        "gradient_norm": getattr(model, "gradient_norm_", None),
        "objective": getattr(model, "objective_", None),
        "objective_gap": getattr(model, "objective_gap_", None),
        "n_iter": getattr(model, "n_iter_", None),
        "columns": result.columns,
        "bytes": result.bytes,
        "keys": _keys(result),
        "computed": sum(line["computed"] for line in lines),
        "reused": sum(line["reused"] for line in lines),
        "skipped": result.extraction.skipped,
        "batch_size": result.extraction.batch_size,
        "notes": result.extraction.notes,
        "seconds": result.seconds,
        "parameters": _parameters(model),
    }


def _keys(result: ProbeResult) -> dict[str, Any]:
    """Return by split the key of the layer that was fitted on; of joined ones, all of their keys."""
    keys: dict[str, list[str]] = {}
    for line in result.extraction.layers:
        keys.setdefault(line["split"], []).append(line["key"])
    return {split: found[0] if len(found) == 1 else found for split, found in keys.items()}


def layer_lines(results: Mapping[str, ProbeResult]) -> list[dict[str, Any]]:
    """Return a line a layer, of the network that was fitted on, with everything that was found out about it.

    Those that a halving dropped have no scores that could be compared: they say with how many rows they ended.
    """
    lines = [
        {
            "layer": name,
            "columns": result.columns,
            "bytes": result.bytes,
            "C": _used(result.config)["C"],
            "accuracy": {part: scores.accuracy for part, scores in result.scores.items()},
            "loss": {part: scores.loss for part, scores in result.scores.items()},
            "search": result.search or None,
            "converged": getattr(result.model, "converged_", None),
            "objective_gap": getattr(result.model, "objective_gap_", None),
            "seconds": result.seconds,
        }
        for name, result in results.items()
    ]
    halvings = [result.halving for result in results.values() if result.halving is not None]
    return lines if not halvings else _with_dropped(lines, halvings[0])


def _with_dropped(lines: list[dict[str, Any]], halving: Halving) -> list[dict[str, Any]]:
    found, own = {line["layer"]: line for line in lines}, halving.layers_of()
    plain: dict[str, Any] = {"accuracy": {}, "loss": {}, "search": None, "converged": None, "objective_gap": None}
    for name, layer in own.items():
        if layer not in found:
            last, C = halving.last_of(name)
            columns = halving.columns[name]
            seconds = sum(one.seconds_of.get(name, 0.0) for one in halving.rounds)
            dropped = {"rows": last.rows, "accuracy": last.accuracy((name, C))}
            found[layer] = {"layer": layer, "columns": columns, "bytes": None, "C": C, **plain, "dropped": dropped}
            found[layer]["seconds"] = {"fit": seconds}
    return [found[layer] for layer in own.values()]


def network_lines(partition: Partition, choice: NetworkChoice) -> list[dict[str, Any]]:
    """Return a line a network that one was chosen among, JSON-able: how it is had again, and how far it came.

    ``layers`` say with how many rows each was fitted last, and how many of the validation rows its best C predicted.
    """
    return [
        {
            "name": network.name,
            "backbone": network.backbone.name,
            "weights": network.backbone.weights,
            "weights_sha256": network.backbone.weights_sha256,
            "code": network.backbone.code,
            "asked": {name: asked_for(partition, network.backbone)[name] for name in ("backbone", "network")},
            **choice.counts[network.name],
            "layers": _halved_layers(choice, network.name),
        }
        for network in choice.networks
    ]


def _halved_layers(choice: NetworkChoice, network: str) -> list[dict[str, Any]]:
    halving = choice.result.halving
    assert halving is not None
    lines = []
    for name, layer in halving.layers_of(network).items():
        last, C = halving.last_of(name)
        told = {"C": C, "rows": last.rows, "accuracy": last.accuracy((name, C))}
        lines.append({"layer": layer, "columns": halving.columns[name], **told})
    return lines


def save_model(run: Run, result: ProbeResult, classes: tuple[str, ...]) -> None:
    """Write the head's coefficients (see `featx.portable`); of neighbours, the store holds all.

    Beside a model that learnt from the validation rows too, the one that did not is what a training's head may begin
    as: those rows are to choose its epoch.
    """
    scaling = None if result.calibration is None else result.calibration.scaling
    _save(run, MODEL_FILE, result.model, result.config, classes, scaling)
    if result.blind is not None:
        _save(run, BLIND_FILE, result.blind, result.config, classes, scaling)


def _save(
    run: Run, name: str, model: Any, config: FitConfig, classes: tuple[str, ...], scaling: Scaling | None
) -> None:
    parts = linear_parts(model)
    if parts is not None:
        write_model(
            run.path / name,
            coef=parts[0],
            intercept=parts[1],
            classes=np.array([classes[label] for label in model.classes_]),
            normalize=config.normalize,
            params={name: value for name, value in _used(config).items() if name != "seed"},
            calibration=None if scaling is None else scaling.of(np.asarray(model.classes_, np.int64)),
        )


def _used(config: FitConfig) -> dict[str, Any]:
    """Return the options, those that the head knows nothing of as None."""
    options = asdict(config)
    foreign = {name for name in ("C", "standardize", "normalize") if config.head not in OF_HEADS[name]}
    foreign |= {"C"} if config.sweep in RECIPES else set()
    options |= dict.fromkeys(foreign)
    return options


def _parameters(model: Any) -> dict[str, int]:
    parts = linear_parts(model)
    total = 0 if parts is None else int(parts[0].size + parts[1].size)
    return {"total": total, "trainable": total, "frozen": 0}
