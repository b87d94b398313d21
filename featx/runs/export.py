"""``featx export``: a run's whole model as one file that other programs run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featx.cache.memo import Memo
from featx.core.outputs import write_output
from featx.core.packages import version
from featx.core.run_folder import RECORD_FILE, Run, Runs
from featx.core.specs import Progress, no_progress
from featx.core.validation import check_positive
from featx.data.batch_loader import Shape, image_shape
from featx.data.registry import BUILT_IN
from featx.data.sources import Source, load_splits
from featx.errors import CorruptStoreError, FeatxError, OptionError
from featx.extraction.inputs import as_source
from featx.models.backbones import Backbone
from featx.runs.export_formats import BATCH, INPUT, OUTPUT, format_of
from featx.runs.export_parity import TOLERANCE, Parity, check_parity
from featx.runs.predict import open_predictor
from featx.runs.predictors import LinearPredictor, Predictor

CARD_FORMAT = 1
TENSORS = ".safetensors"
ELSEWHERE = "choose another file"


@dataclass(frozen=True)
class ExportResult:
    """An exported model.

    Parameters
    ----------
    path : Path
        The file.
    format : str
        Its kind: the ending of its name.
    shape : tuple of int
        (C, H, W) of an image.
    bytes : int
        Its size.
    parity : Parity
        How it compares with featx's own predictions.
    notes : tuple of str
        What the user should know.
    """

    path: Path
    format: str
    shape: Shape
    bytes: int
    parity: Parity
    notes: tuple[str, ...]


def export(
    run: Run,
    path: Path,
    memo: Memo,
    *,
    weights: str | None = None,
    images: int = 32,
    source: str | None = None,
    tolerance: float = TOLERANCE,
    progress: Progress = no_progress,
) -> ExportResult:
    """Write a run's model, checked against featx's own predictions before the file is made.

    Parameters
    ----------
    run, memo : Run, Memo
        The run, and what is remembered.
    path : Path
        The file; its ending says the format (`featx.runs.export_formats.FORMATS`).
    weights : str, optional
        As of `featx.runs.predict.open_predictor`.
    images : int
        To check on.
    source : str, optional
        Of the images; None takes the run's own and, if that cannot be opened, noise.
    tolerance : float
        Largest difference of a logit, as a share of the largest one where that is above 1.

    Raises
    ------
    OptionError
        A run whose model cannot be exported, a name that means no format, a package that is not installed.
    FeatureError
        The exported model differs from featx's own.
    FeatxError
        As `open_predictor`; the file cannot be written.
    """
    kind = format_of(path)
    check_positive("tolerance", tolerance)
    record = run.read()
    original = open_predictor(run, memo, weights)
    notes = [said] if (said := _rounding(original)) else []
    predictor = original.in_full_precision()
    _check_place(path, run, predictor)
    from featx.runs.exportable import check_views, exportable  # torch

    check_views(predictor)
    found, more = _images(run, record, memo, source, images, predictor)
    shape = image_shape(found, predictor.preprocess)
    card = card_of(run, record, predictor, shape)
    data = kind.pack(lambda folded: exportable(predictor, shape, folded=folded), shape, card)
    opened = kind.opened(data, lambda folded: exportable(predictor, shape, folded=folded))
    parity = check_parity(predictor, opened, found, tolerance, progress)
    write_output(path, data)
    return ExportResult(path, path.suffix.lower()[1:], shape, len(data), parity, (*notes, *more))


def _check_place(path: Path, run: Run, predictor: Predictor) -> None:
    """Raise OptionError where the file would replace one that a run stands on, or be taken for one."""
    folder = Path(os.path.realpath(path)).parent
    if path.suffix.lower() == TENSORS and (folder / RECORD_FILE).is_file():
        raise OptionError(f"--output {path} would be among the files that run {folder.name} needs", ELSEWHERE)
    files = _weights_of(predictor.backbone)
    if any(os.path.exists(file) and path.exists() and os.path.samefile(file, path) for file in files):
        raise OptionError(f"--output {path} is a file that run {run.id} needs", ELSEWHERE)


def _weights_of(backbone: Backbone) -> Iterator[str]:
    """Give the files that a network's tensors come from, those of what it stands on among them."""
    if backbone.file:
        yield backbone.file
    if backbone.held is not None:
        yield backbone.held.file
    if backbone.base is not None:
        yield from _weights_of(backbone.base)


def card_of(run: Run, record: Mapping[str, Any], predictor: Predictor, shape: Shape) -> dict[str, Any]:
    """Return what an exported file says of itself, JSON-able; of places, whose folders are nobody's business, names.

    Parameters
    ----------
    run, record, predictor : Run, mapping, Predictor
        What is exported.
    shape : tuple of int
        (C, H, W) of an image.

    Raises
    ------
    CorruptStoreError
        The record lacks what a card tells.
    """
    spec = predictor.preprocess
    try:
        return {
            "format": CARD_FORMAT,
            "featx": version("featx"),
            "run": run.id,
            "kind": record["kind"],
            "created": record.get("created"),
            "source": Path(str(record["source"])).name,
            "backbone": record["backbone"],
            "weights_sha256": record["weights_sha256"],
            "layer": record.get("layer"),
            "mode": record.get("mode"),
            "head": record.get("head"),
            "accuracy": {part: None if value is None else float(value) for part, value in record["accuracy"].items()},
            "classes": list(predictor.classes),
            "probabilities": "softmax of the logits" if predictor.is_probabilistic else None,
            "calibration": None if predictor.scaling is None else {**predictor.scaling.as_dict(), "inside": True},
            "input": {"name": INPUT, "shape": [BATCH, *shape], "type": "float32", "values": "0 to 1", "order": "RGB"},
            "output": {"name": OUTPUT, "shape": [BATCH, len(predictor.classes)], "type": "float32"},
            "preprocessing": {
                "channels": spec.channels,
                "resize": spec.resize,
                "crop": spec.crop,
                "fit": spec.fit,
                "interpolation": spec.interpolation,
                "mean": list(spec.mean),
                "std": list(spec.std),
                "bits": spec.bits,
                "inside": ["mean", "std"],
            },
        }
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise _damaged(run, f"{type(exc).__name__}: {exc}") from exc


def _damaged(run: Run, why: str) -> CorruptStoreError:
    return CorruptStoreError(f"the record of run {run.id} is damaged: {why}", "run its command again")


def _rounding(predictor: Predictor) -> str:
    """Say where a run computed more coarsely than its exported model does."""
    fitted = isinstance(predictor, LinearPredictor)
    precision = predictor.fitted.precision if fitted else predictor.precision  # type: ignore[attr-defined]
    dtype = predictor.fitted.dtype if fitted else "float32"  # type: ignore[attr-defined]
    if precision == "fp32" and dtype == "float32":
        return ""
    said = precision if dtype == "float32" else f"{precision} with features kept as {dtype}"
    return f"the run computed in {said}; the exported model computes in fp32, and is compared with featx in fp32"


def _images(
    run: Run, record: Mapping[str, Any], memo: Memo, source: str | None, count: int, predictor: Predictor
) -> tuple[Source, list[str]]:
    """Return images to check on, and what is to be said of them."""
    if source is not None:
        return _some(source, None, memo, count), []
    try:
        return _own_images(run, record, memo, count), []
    except FeatxError as exc:
        why = exc.message
    spec = predictor.preprocess
    if spec.crop is None:
        raise OptionError(
            f"images keep their size in run {run.id}, which its source would tell, and it cannot be opened: {why}",
            "name images of that size with --source",
        )
    noise = np.random.default_rng(0).integers(0, 256, (count, spec.crop, spec.crop, spec.channels), np.uint8)
    said = f"checked on images of noise: the run's source cannot be opened: {why}"
    return as_source(noise, spec.channels), [said]


def _own_images(run: Run, record: Mapping[str, Any], memo: Memo, count: int) -> Source:
    name = str(record.get("source"))
    asked = record.get("asked") or {}
    if not isinstance(asked, Mapping):
        raise _damaged(run, f"asked is a {type(asked).__name__}")
    # What a stranger's record names is not fetched from elsewhere.
    if run.path.parent != Runs(memo.home).folder and name in BUILT_IN and name != "digits":
        raise OptionError(f"the run is not of this home, and {name} would be downloaded", "give --source")
    return _some(str(asked.get("source") or name), asked.get("root"), memo, count)


def _some(name: str, root: str | None, memo: Memo, count: int) -> Source:
    """Return some images of a source: of its test split, if it has one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is beside the images was said when the run was made
        splits = load_splits(name, root=root, limit=count, memo=memo)
    return splits.get("test") or next(iter(splits.values()))
