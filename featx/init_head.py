"""The head of a training begun as a fitted softmax regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch

from featx.backbones import Backbone
from featx.checkpoints import differences
from featx.errors import OptionError, StoreError
from featx.forward import Network
from featx.heads import linear_from_softmax
from featx.learners import Learner
from featx.portable import read_model
from featx.runs import MODEL_FILE, Run
from featx.specs import LayerSpec

SOFTMAX = "softmax"
"""The head of `featx fit` that a network's last layer can begin as."""


def begin_head(learner: Learner, run: Run, backbone: Backbone, classes: Sequence[str], shape: tuple[int, ...]) -> None:
    """Set a linear head's weights to those of a softmax regression on the same features.

    Parameters
    ----------
    run : Run
        Of `featx fit`; its weights are already those of the plain features, the standardisation folded in.
    classes : sequence of str
        Of the training.
    shape : tuple of int
        (C, H, W) of a prepared image.

    Raises
    ------
    OptionError
        The run is of other classes, another backbone, other weights or preprocessing, or another layer; says which.
    StoreError
        The run has no model.
    """
    record = run.read()
    _check(record, run, backbone, classes)
    network = Network(backbone, shape)  # type: ignore[arg-type]
    _check_layer(LayerSpec.parse(record["layer"]), LayerSpec(learner.layer), network, run, shape)
    if not (run.path / MODEL_FILE).exists():
        raise StoreError(f"run {run.id} has no {MODEL_FILE}", f"remove the folder {run.path} and fit again")
    model = read_model(run.path / MODEL_FILE)
    fitted = linear_from_softmax(SimpleNamespace(coef_=model.coef, intercept_=model.intercept))
    head: Any = learner.head
    with torch.no_grad():
        for name, value in fitted.state_dict().items():
            parameter = head.get_parameter(name)
            parameter.copy_(value.reshape(parameter.shape))


def _check(record: Mapping[str, Any], run: Run, backbone: Backbone, classes: Sequence[str]) -> None:
    if record.get("kind") != "fit":
        raise OptionError(f"run {run.id} is a {record.get('kind')}, expected a fit", "`featx fit` makes one")
    if record.get("head", SOFTMAX) != SOFTMAX or record.get("normalize"):
        said = f"{record.get('head')}" + (", of rows of norm 1" if record.get("normalize") else "")
        raise OptionError(f"run {run.id} is of head {said}, expected a softmax regression on the features as they are")
    names = ("backbone", "weights_sha256", "preprocess", "classes")
    now = {
        "backbone": backbone.name,
        "weights_sha256": backbone.weights_sha256,
        "preprocess": backbone.preprocess.as_dict(),
        "classes": list(classes),
    }
    differs = differences({name: record.get(name) for name in names}, now)
    if differs:
        raise OptionError(f"the head of run {run.id} does not belong here: {differs}", "fit on the same, then train")
    if list(record["model_classes"]) != list(range(len(classes))):
        raise OptionError(
            f"run {run.id} learnt {len(record['model_classes'])} of the {len(classes)} classes", "fit on all of them"
        )


def _check_layer(given: LayerSpec, wanted: LayerSpec, network: Network, run: Run, shape: tuple[int, ...]) -> None:
    """Refuse features that are not what the head is given; two names may stand for the same values."""
    if given != wanted and not _same_values(given, wanted, network, shape):
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
