"""What sits on a backbone, and how a fitted softmax regression becomes one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from featx.models.head_spec import HeadSpec


def make_head(spec: HeadSpec, in_features: int, n_classes: int, *, convolution: bool = False) -> nn.Module:
    """Return a new classifier.

    Parameters
    ----------
    spec : HeadSpec
        Hidden layers and dropout; where it stands is `featx.training.trainable`' affair.
    in_features, n_classes : int
        Values in and out.
    convolution : bool
        1 x 1 convolutions in the linear layers' place, as SqueezeNet's classifier is.
    """
    layers: list[nn.Module] = []
    widths = (in_features, *spec.widths)
    for before, after in zip(widths, spec.widths, strict=False):
        layers += [_layer(before, after, convolution), nn.ReLU()]
        if spec.dropout:
            layers.append(nn.Dropout(spec.dropout))
    last = _layer(widths[-1], n_classes, convolution)
    return nn.Sequential(*layers, last) if layers else last


def _layer(before: int, after: int, convolution: bool) -> nn.Module:
    return nn.Conv2d(before, after, 1) if convolution else nn.Linear(before, after)


def linear_from_softmax(model: Any, n_classes: int | None = None) -> nn.Linear:
    """Return a fitted softmax regression as a linear layer that gives the same logits.

    Parameters
    ----------
    model : SoftmaxRegression
        Fitted: ``coef_`` (k, d) or, for two classes, (1, d), whose logits become ``[0, z]``.
    n_classes : int, optional
        Outputs, where labels are 0 to n_classes - 1 and some were missing in training: those get minus infinity.

    Returns
    -------
    nn.Linear
        float32, d inputs.
    """
    coef, intercept = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
    if len(coef) == 1:
        coef = np.vstack([np.zeros_like(coef), coef])
        intercept = np.concatenate([np.zeros_like(intercept), intercept])
    head = nn.Linear(coef.shape[1], n_classes or len(coef))
    at = np.arange(len(coef)) if n_classes is None else np.asarray(model.classes_, np.int64)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(-torch.inf)
        head.weight[at] = torch.from_numpy(np.asarray(coef, np.float32))
        head.bias[at] = torch.from_numpy(np.asarray(intercept, np.float32))
    return head


def attach(module: nn.Module, name: str, head: nn.Module) -> nn.Module:
    """Put a head in the classifier's place and return the network, which is changed."""
    module.set_submodule(name, head)
    return module


def count_parameters(module: nn.Module) -> dict[str, int]:
    """Return the number of values that are learnt: ``total``, ``trainable``, ``frozen``."""
    total = sum(p.numel() for p in module.parameters())
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return {"total": total, "trainable": trainable, "frozen": total - trainable}


def head_width(head: nn.Module) -> int:
    """Return how many values a classifier takes."""
    width = head.in_channels if isinstance(head, nn.Conv2d) else head.in_features
    return int(width)  # type: ignore[arg-type]
