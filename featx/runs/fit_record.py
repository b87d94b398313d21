"""What a run of ``featx fit`` writes down of its heads, and the model it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from featx.core.run_folder import MODEL_FILE, Run
from featx.portable import write_model
from featx.probes.classifiers import linear_parts
from featx.probes.config import OF_HEADS, RECIPES, FitConfig
from featx.probes.probe import ProbeResult


def fit_fields(result: ProbeResult) -> dict[str, Any]:
    """Return what a fit adds to the fields that all runs have.

    ``C``, ``k``, ``standardize`` and ``normalize`` are what was fitted with in the end; `search` says how they were
    chosen, `draws` what each draw of few labels gave. The certificate is None for heads that have none.
    """
    model = result.model
    lines = result.extraction.layers
    return {
        **_used(result.config),
        "model_classes": model.classes_,
        "search": result.search or None,
        "draw_scores": result.draws or None,
        "converged": getattr(model, "converged_", None),
        "gradient_norm": getattr(model, "gradient_norm_", None),
        "objective": getattr(model, "objective_", None),
        "objective_gap": getattr(model, "objective_gap_", None),
        "n_iter": getattr(model, "n_iter_", None),
        "columns": result.columns,
        "bytes": result.bytes,
        "keys": {line["split"]: line["key"] for line in lines},
        "computed": sum(line["computed"] for line in lines),
        "reused": sum(line["reused"] for line in lines),
        "skipped": result.extraction.skipped,
        "batch_size": result.extraction.batch_size,
        "notes": result.extraction.notes,
        "seconds": result.seconds,
        "parameters": _parameters(model),
    }


def layer_lines(results: Mapping[str, ProbeResult]) -> list[dict[str, Any]]:
    """Return a line a layer, with everything that was found out about it."""
    return [
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


def save_model(run: Run, result: ProbeResult, classes: tuple[str, ...]) -> None:
    """Write the head's coefficients (see `featx.portable`); of neighbours, the store holds all."""
    parts = linear_parts(result.model)
    if parts is not None:
        names = np.array([classes[label] for label in result.model.classes_])
        params = {name: value for name, value in _used(result.config).items() if name != "seed"}
        write_model(
            run.path / MODEL_FILE,
            coef=parts[0],
            intercept=parts[1],
            classes=names,
            normalize=result.config.normalize,
            params=params,
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
