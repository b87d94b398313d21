"""Whether a repeated run came out as the first did: bit for bit, or by how much not, and what else is different."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from featx.core import atomic
from featx.core.metrics import SCALARS
from featx.core.run_folder import MODEL_FILE, Run
from featx.errors import CorruptStoreError, StoreError
from featx.reports.identity import leaves, recipe_of
from featx.reports.predictions import PREDICTIONS_FILE, load_predictions

Kind = Literal["result", "file", "rows", "version", "device", "option"]
"""What came out; and what it may be due to."""

RESULT: Kind = "result"
MAX_MODEL_BYTES = 1 << 34
CURVE = ("lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy")

KINDS: dict[str, Kind] = {
    "weights_sha256": "file",
    "code": "file",
    "fingerprints": "rows",
    "labels": "rows",
    "n": "rows",
    "classes": "rows",
}
"""What a field that numbers depend on is; the others are options."""


@dataclass(frozen=True)
class Difference:
    """Something that is not as it was.

    Parameters
    ----------
    kind : str
        ``result``, or what it may be due to: ``file``, ``rows``, ``version``, ``device``, ``option``.
    name : str
        What differs.
    was, now : object
        In the first run, and in the repeated one; JSON-able.
    by : float or None
        The largest difference of a number.
    """

    kind: Kind
    name: str
    was: Any
    now: Any
    by: float | None = None

    def __str__(self) -> str:
        apart = "" if self.by is None else f", by {self.by:.1e}"
        return f"{self.name}: {_said(self.was)}, now {_said(self.now)}{apart}"


def _said(value: Any) -> str:
    return "none" if value is None else str(value)[:200]


def compare_runs(first: Run, second: Run) -> list[Difference]:
    """Return everything in which a repeated run is not as the first, results before what they may be due to.

    Scores, curves and what was chosen are compared as the records hold them, tensors and predictions bit by bit;
    times are not compared. Two runs are equal where no difference is a result.

    Raises
    ------
    StoreError, CorruptStoreError
        A record or a model that cannot be read.
    """
    was, now = first.read(), second.read()
    try:
        results = [*_scores(was, now), *_curves(was, now), *_chosen(was, now)]
        causes = [*_options(was, now), *_machine(was, now)]
    except (LookupError, TypeError, AttributeError, ValueError) as exc:
        raise CorruptStoreError(
            f"the record of run {first.id} is damaged: {type(exc).__name__}: {exc}", "run its command again"
        ) from exc
    return [*results, *_tensors(first, second), *_predictions(first, second), *causes]


def _scores(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    for name in (scalar for scalar in SCALARS if scalar in was):  # an older featx knew fewer
        before, after = was[name], now[name]
        for part in dict.fromkeys([*before, *after]):
            yield from _number(f"{part} {name.replace('_', ' ')}", before.get(part), after.get(part))


def _number(name: str, before: Any, after: Any) -> Iterator[Difference]:
    if before != after:
        numbers = isinstance(before, (int, float)) and isinstance(after, (int, float))
        yield Difference(RESULT, name, before, after, abs(before - after) if numbers else None)


def _curves(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    before, after = was.get("history") or [], now.get("history") or []
    if len(before) != len(after):
        yield Difference(RESULT, "epochs", len(before), len(after))
        return
    for old, new in zip(before, after, strict=True):
        for name in CURVE:
            if old.get(name) != new.get(name):  # later epochs follow from the first that differs
                yield from _number(f"{name.replace('_', ' ')} of epoch {old['epoch']}", old.get(name), new.get(name))
                return


def _chosen(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    chosen = ("layer", "search", "draw_scores", "best_epoch", "columns", "model_classes")
    for name in (name for name in chosen if name in was):  # as above
        before, after = was.get(name), now.get(name)
        if before != after:
            plain = isinstance(before, (str, int)) and isinstance(after, (str, int))
            yield Difference(RESULT, name.replace("_", " "), *((before, after) if plain else ("as recorded", "other")))
    old, new = ({line["layer"]: line for line in record.get("layers") or []} for record in (was, now))
    for layer in dict.fromkeys([*old, *new]) if old and new else ():
        for name in ("C", "accuracy", "loss"):
            before, after = (lines.get(layer, {}).get(name) for lines in (old, new))
            if before != after:
                yield Difference(RESULT, f"{name} of layer {layer}", before, after)


def _tensors(first: Run, second: Run) -> Iterator[Difference]:
    """Compare what both models hold: one of them may keep its frozen base too."""
    before, after = _model(first), _model(second)
    if before is None and after is None:
        return
    both = sorted({*(before or {})} & {*(after or {})})
    if before is None or after is None or not both:
        counts = [None if some is None else len(some) for some in (before, after)]
        yield Difference(RESULT, f"tensors in {MODEL_FILE}", *counts)
        return
    apart = {name: by for name in both if (by := _apart(before[name], after[name])) is not None}
    if apart:
        worst = max(apart, key=lambda name: apart[name])
        by = apart[worst] if math.isfinite(apart[worst]) else None
        yield Difference(RESULT, f"{len(apart)} of {len(both)} tensors", worst, "other", by)


def _model(run: Run) -> dict[str, npt.NDArray[Any]] | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = run.path / MODEL_FILE
    if not path.is_file():  # nearest neighbours keep none
        return None
    try:
        return load(atomic.read_bytes(path, MAX_MODEL_BYTES))
    except SafetensorError as exc:
        raise CorruptStoreError(f"{path} is damaged: {exc}", "run its command again") from exc


def _apart(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> float | None:
    """Return the largest difference of two tensors, infinite where they cannot be compared; None for the same bits."""
    if before.dtype == after.dtype and before.shape == after.shape:
        if before.tobytes() == after.tobytes():
            return None
        if before.size:
            by = float(np.abs(before.astype(np.float64) - after.astype(np.float64)).max())
            return by if math.isfinite(by) else math.inf
    return math.inf


def _predictions(first: Run, second: Run) -> Iterator[Difference]:
    found = []
    for run in (first, second):
        try:
            found.append(load_predictions(run))
        except StoreError:
            if (run.path / PREDICTIONS_FILE).exists():
                raise
            return  # an older run, or one without test rows
    before, after = found
    if any(not np.array_equal(before[name], after[name]) for name in ("hashes", "labels")):
        yield Difference(RESULT, "test images", len(before["labels"]), f"{len(after['labels'])}, other ones")
        return
    others = int((before["predicted"] != after["predicted"]).sum())
    if others:
        yield Difference(
            RESULT, "predictions of the test images", "as recorded", f"{others} of {len(before['labels'])} differ"
        )


def _options(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    before, after = leaves(recipe_of(was)), leaves(recipe_of(now))
    # What an older featx did not write is not known to differ.
    for name in (name for name in after if name in before or name in was):
        if before.get(name) != after.get(name):
            yield Difference(KINDS.get(name, "option"), name, before.get(name), after.get(name))
    for name in ("weights", "seed"):
        if was.get(name) != now.get(name):
            yield Difference("option", name, was.get(name), now.get(name))


def _machine(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    groups: tuple[tuple[str, Kind], ...] = (("versions", "version"), ("hardware", "device"))
    for group, kind in groups:
        before, after = was.get(group) or {}, now.get(group) or {}
        for name in before:
            if before[name] != after.get(name):
                yield Difference(kind, name, before[name], after.get(name))
    for name in ("device", "processor"):
        if was.get(name) is not None and was[name] != now.get(name):
            yield Difference("device", name, was[name], now.get(name))
