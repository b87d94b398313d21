"""What a run's numbers depend on, derived from its record: everything in it but what came out, and where and how fast.

A field that a later featx records counts without being named here, until it is listed as one that cannot matter.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from featx.core.hashing import digest_of_foreign
from featx.core.specs import BackboneConfig, ExtractConfig, PreprocessSpec
from featx.data.split_options import SplitOptions
from featx.probes.config import FitConfig, idle_options
from featx.training.config import TrainConfig

Record = Mapping[str, Any]

NAMES = (
    *("id", "run", "path", "created", "command", "identity", "weights_file", "origin", "held", "kept", "asked"),
    "readout",
)
"""Where a run and its files lie, when it was made, and what its layer was called."""

NETWORK = ("seed", "backbone", "weights", "init_head")
"""Said by a row itself: what they mean depends on other runs (see `featx.reports.over_seeds`)."""

FOUND = (
    *("top5", "balanced_accuracy", "macro_f1", "brier", "ece", "rms_calibration_error", "calibration"),
    "excluded_rows",
    *("accuracy", "loss", "confusion", "images", "rows", "shared_with_test", "skipped", "model_classes", "search"),
    *("draw_scores", "converged", "gradient_norm", "objective", "objective_gap", "n_iter", "columns", "bytes", "keys"),
    *("computed", "reused", "notes", "parameters", "parameter_bytes", "best_epoch", "history", "cached", "seconds"),
    *("choice", "images_per_second", "seconds_per_epoch", "inference", "missing_classes", "unlabelled", "conflicting"),
)
"""What came out. Of rows, those that were asked for count: see `_data`."""

MACHINE = ("device", "processor", "processes", "hardware", "versions", "checkpoint_minutes", "workers", "on_error")
"""What decides about rounding at most, or about whether a run ends; no part of a feature's key either.

A run that left out broken images has fewer rows than images, which is seen by their number."""

RESOLVED = ("weights", "stem", "size", "mean", "std", "resize", "interpolation", "views", "precision", "batch_size")
"""What was asked of an extraction, and stands in the record as what it came to; its batches change rounding."""

TAKEN = ("fingerprints", "labels", "limit", "per_class", "val_size", "classes")
"""What `_data` makes of a record."""

CONFIGS: dict[str, Any] = {"fit": FitConfig, "train": TrainConfig}
OF_A_KIND: dict[str, tuple[str, ...]] = {"fit": ("batch_size",)}
"""Fields that cannot matter in runs of one kind: the batches of a fit are its extraction's."""

LABELS = {"crop": "size", "fit": "resize", "resize": "resized_px"}
"""Names of a preprocessing's fields as the options, and the reports, call them."""

_DIGEST = re.compile("[0-9a-f]{64}")


def recipe_of(record: Record) -> dict[str, Any]:
    """Return what a run's numbers depend on beside its seed and its networks, without what is absent or empty.

    Options that a record lacks, of a featx that did not have them, are what they are by default. What was chosen on
    validation rows (C, k, a layer of several) is no part of it; what it was chosen among is.
    """
    kind = str(record.get("kind"))
    whole = _filled(record, (CONFIGS[kind],)) if kind in CONFIGS else dict(record)
    left_out = {*NAMES, *NETWORK, *FOUND, *MACHINE, *TAKEN, *OF_A_KIND.get(kind, ()), *_chosen(record)}
    left_out |= idle_options(whole) if kind == "fit" else set()
    parts = {
        "preprocess": _part(record, "preprocess", (PreprocessSpec,)),
        "extraction": _part(record, "extraction", (BackboneConfig, ExtractConfig), (*RESOLVED, *MACHINE)),
        "layers": _candidates(record),
        "networks": _networks(record),
        **_data(record),
    }
    found = {name: value for name, value in whole.items() if name not in left_out} | parts
    return {name: value for name, value in found.items() if value is not None and value not in ({}, [], ())}


def leaves(recipe: Record) -> dict[str, Any]:
    """Return a recipe's parts by the names under which a report shows them; of hashes, their beginnings."""
    return dict(_leaves(recipe))


def _leaves(recipe: Record) -> Iterator[tuple[str, Any]]:
    for name, value in recipe.items():
        if name in ("fingerprints", "labels"):
            yield name, digest_of_foreign(value)[:8]
        elif not isinstance(value, Mapping):
            yield name, _shown(value)
        elif name == "splits":
            yield from ((f"{part}_split", split) for part, split in value.items())
        else:
            known = LABELS if name == "preprocess" else {}
            yield from ((known.get(str(inner), str(inner)), _shown(part)) for inner, part in value.items())


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return value[:8] if _DIGEST.fullmatch(value) else value
    if isinstance(value, (list, tuple)) and value:
        alike = all(part == value[0] for part in value)
        return value[0] if alike else ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value)
    return value


def _filled(values: Record, configs: tuple[Any, ...]) -> dict[str, Any]:
    """Return values with the defaults of the fields that they lack."""
    empty = dataclasses.MISSING
    fields = [field for config in configs for field in dataclasses.fields(config)]
    return {f.name: f.default for f in fields if f.default is not empty} | dict(values)


def _part(record: Record, name: str, configs: tuple[Any, ...], but: tuple[str, ...] = ()) -> dict[str, Any] | None:
    found = record.get(name)
    if not isinstance(found, Mapping):
        return None
    whole = {n: _plain(value) for n, value in _filled(found, configs).items() if n not in but}
    return {n: value for n, value in whole.items() if value is not None and value != {}}


def _plain(value: Any) -> Any:
    return value.as_dict() if hasattr(value, "as_dict") else value


def _chosen(record: Record) -> set[str]:
    """Return the fields that validation rows decided about."""
    search = record.get("search")
    over = {str(search.get("over"))} if isinstance(search, Mapping) else set()
    swept = {"C"} if record.get("sweep") is not None or record.get("halving") else set()
    return over | swept | ({"layer"} if _candidates(record) else set())


def _candidates(record: Record) -> list[str] | None:
    """Return the layers that one was chosen of; None where there was no choice."""
    lines = record.get("layers")
    found = [str(line.get("layer")) for line in lines if isinstance(line, Mapping)] if isinstance(lines, list) else []
    return found if len(found) > 1 else None


def _networks(record: Record) -> list[str] | None:
    """Return the networks that one was chosen of, with their layers; None where there was no choice."""
    choice = record.get("choice")
    lines = choice.get("networks") if isinstance(choice, Mapping) else None
    if not isinstance(lines, list):
        return None
    return [_network(line) for line in lines if isinstance(line, Mapping)]


def _network(line: Record) -> str:
    layers = [str(layer.get("layer")) for layer in line.get("layers") or () if isinstance(layer, Mapping)]
    return " ".join([str(line.get("name")), str(line.get("weights_sha256"))[:8], *layers])


def _data(record: Record) -> dict[str, Any]:
    """Return what tells images and labels apart; of a choice by the seed, the choice instead of its images."""
    thinned = {name: _asked(record, name) for name in ("limit", "per_class")}
    drawn = any(value is not None for value in thinned.values())
    classes = record.get("classes")
    return {
        "source": record.get("source"),
        "n": _n_rows(record),
        "classes": digest_of_foreign(classes) if isinstance(classes, list) else classes,
        **thinned,
        "val_size": record.get("val_size", SplitOptions.val_size),
        **{name: None if drawn else record.get(name) for name in ("fingerprints", "labels")},
    }


def _asked(record: Record, name: str) -> int | None:
    """Return --limit or --per-class; earlier featx recorded the command alone."""
    if name in record:
        found: int | None = record[name]
        return found
    given = _given(record, f"--{name.replace('_', '-')}")
    return int(given[-1]) if given and given[-1].isdecimal() else None


def drawn_by_seed(record: Record) -> bool:
    """Tell whether a training's command left it to the seed to draw the network; False too where nothing tells."""
    words = record.get("command")
    by_command = isinstance(words, list) and list(map(str, words[:2])) == ["featx", "train"]
    return by_command and record.get("mode") == "scratch" and not _given(record, "--weights")


def _given(record: Record, flag: str) -> list[str]:
    """Return the values that an option has in a run's command."""
    command = record.get("command")
    words = list(map(str, command)) if isinstance(command, list) else []
    given = [after for word, after in itertools.pairwise(words) if word == flag]
    return given + [word.partition("=")[2] for word in words if word.startswith(f"{flag}=")]


def _n_rows(record: Record) -> Any:
    """Return how many images were asked for: of equal ones, which stay together, a seed puts more into one part."""
    rows, skipped = record.get("rows"), record.get("skipped")
    if not isinstance(rows, Mapping) or not all(isinstance(count, int) for count in rows.values()):
        return record.get("images")
    counts = record.get("excluded_rows")
    left_out = [one for one in counts.values() if isinstance(one, int)] if isinstance(counts, Mapping) else []
    return sum(rows.values()) + (len(skipped) if isinstance(skipped, list) else 0) + sum(left_out)


def label_digest(labels: bytes) -> str:
    """Return the SHA-256 of a source's labels, in order, as a record holds it."""
    return hashlib.sha256(labels).hexdigest()
