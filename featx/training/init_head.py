"""The head of a training, begun as a softmax regression was fitted or as another training left it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from featx.core.concatenation import Concatenation, Feature, parse_feature
from featx.core.run_folder import BLIND_FILE, MODEL_FILE, Run
from featx.core.specs import LayerSpec
from featx.errors import FeatxWarning, OptionError, StoreError
from featx.extraction.forward import Network
from featx.models.backbones import Backbone
from featx.models.head_spec import HeadSpec
from featx.models.heads import linear_from_softmax
from featx.models.state_dict import read_state
from featx.portable import read_model
from featx.probes.config import SWEEPS
from featx.training.checkpoints import differences, load_exactly
from featx.training.trainable import TrainableModel

SOFTMAX = "softmax"
"""The head of `featx fit` that a network's last layer can begin as."""


def begin_head(
    trainable: TrainableModel, run: Run, backbone: Backbone, head: str, classes: Sequence[str], shape: tuple[int, ...]
) -> None:
    """Set a new head's weights to those that a run learnt on the same features.

    Parameters
    ----------
    run : Run
        Of `featx fit`: its weights are already those of the plain features, the standardisation folded in; those of a
        sweep are of the fit that has not seen the validation rows, which are to choose an epoch. Or of
        `featx train`, with a frozen base that is `backbone`, or the very run that `backbone` was taken from.
    head : str
        The new one; see `HeadSpec`.
    classes : sequence of str
        Of the training.
    shape : tuple of int
        (C, H, W) of a prepared image.

    Raises
    ------
    OptionError
        The run is of other classes, another backbone, other weights or preprocessing, another layer or head; says
        which.
    StoreError
        The run has no model, or one that is not what its record says.
    """
    record, spec = run.read(), HeadSpec.parse(head)
    kind = record.get("kind")
    if kind not in ("fit", "train"):
        raise OptionError(f"run {run.id} is a {kind}, expected a fit or a training", "`featx report` lists the runs")
    if not (run.path / MODEL_FILE).exists():
        raise StoreError(f"run {run.id} has no {MODEL_FILE}", f"remove the folder {run.path} and run `featx {kind}`")
    if kind == "train":
        _begin_as_trained(trainable, run, record, backbone, spec, classes)
    else:
        _begin_as_fitted(trainable, run, record, backbone, spec, classes, shape)


def _begin_as_trained(
    trainable: TrainableModel,
    run: Run,
    record: Mapping[str, Any],
    backbone: Backbone,
    spec: HeadSpec,
    classes: Sequence[str],
) -> None:
    now: dict[str, Any] = {"head": str(spec), "classes": list(classes)}
    if backbone.file is None or not Path(backbone.file).samefile(run.path / MODEL_FILE):
        # What stood below a head that learnt alone is known; a base that learnt with it is this run's own.
        now |= {"mode": "frozen"} | _base(backbone)
    hint = f"-b run:{run.id} takes its network too" if record.get("mode") != "frozen" else "freeze the same, then train"
    _check(run, record, now, hint)
    prefix = "head." if spec.flat else f"{backbone.head}."
    state = read_state(run.path / MODEL_FILE)
    tensors = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    load_exactly(trainable.head, tensors, f"the head of run {run.id}")


def _begin_as_fitted(
    trainable: TrainableModel,
    run: Run,
    record: Mapping[str, Any],
    backbone: Backbone,
    spec: HeadSpec,
    classes: Sequence[str],
    shape: tuple[int, ...],
) -> None:
    if spec.widths:
        raise OptionError(
            f"run {run.id} is a fit, which a linear head can begin as, and the head is {spec}",
            "use --head linear or flat-linear",
        )
    if record.get("head", SOFTMAX) != SOFTMAX or record.get("normalize"):
        said = f"{record.get('head')}" + (", of rows of norm 1" if record.get("normalize") else "")
        raise OptionError(f"run {run.id} is of head {said}, expected a softmax regression on the features as they are")
    _check(run, record, {"classes": list(classes)} | _base(backbone), "fit on the same, then train")
    if list(record["model_classes"]) != list(range(len(classes))):
        raise OptionError(
            f"run {run.id} learnt {len(record['model_classes'])} of the {len(classes)} classes", "fit on all of them"
        )
    network = Network(backbone, shape)  # type: ignore[arg-type]
    _check_layer(parse_feature(record["layer"]), LayerSpec(trainable.layer), network, run, shape)
    model = read_model(_fitted_on_train(run, record))
    fitted = linear_from_softmax(SimpleNamespace(coef_=model.coef, intercept_=model.intercept))
    head: Any = trainable.head
    with torch.no_grad():
        for name, value in fitted.state_dict().items():
            parameter = head.get_parameter(name)
            parameter.copy_(value.reshape(parameter.shape))


def _fitted_on_train(run: Run, record: Mapping[str, Any]) -> Path:
    """Return the file of the model that learnt from the training rows alone; warn where an older featx kept none."""
    blind = run.path / BLIND_FILE
    if blind.exists():
        return blind
    if record.get("sweep") in SWEEPS:
        said = (
            f"the head of run {run.id} has learnt from validation rows: validation scores are too good to choose by "
            f"(repeat its sweep, `featx rerun {run.id}`, and take that run)"
        )
        warnings.warn(said, FeatxWarning, stacklevel=6)
    return run.path / MODEL_FILE


def _base(backbone: Backbone) -> dict[str, Any]:
    return {
        "backbone": backbone.name,
        "weights_sha256": backbone.weights_sha256,
        "preprocess": backbone.preprocess.as_dict(),
    }


def _check(run: Run, record: Mapping[str, Any], now: Mapping[str, Any], hint: str) -> None:
    differs = differences({name: record.get(name) for name in now}, now)
    if differs:
        raise OptionError(f"the head of run {run.id} does not belong here: {differs}", hint)


def _check_layer(given: Feature, wanted: LayerSpec, network: Network, run: Run, shape: tuple[int, ...]) -> None:
    """Refuse features that are not what the head is given; two names may stand for the same values."""
    if given != wanted and (isinstance(given, Concatenation) or not _same_values(given, wanted, network, shape)):
        raise OptionError(
            f"run {run.id} was fitted on layer {given}, and the head is given {wanted}", f"fit with -l {wanted}"
        )


def _same_values(one: LayerSpec, other: LayerSpec, network: Network, shape: tuple[int, ...]) -> bool:
    if network.columns(one) != network.columns(other):
        return False
    noise = torch.randn((2, *shape), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        first, second = (network.traced.cut([spec], network.nodes)(noise)[0] for spec in (one, other))
    return torch.allclose(first, second, rtol=1e-3, atol=1e-5)
