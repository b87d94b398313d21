"""A run's whole model as one network of plain torch operators: images in, logits out. Loads torch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from featx.core.concatenation import parts_of
from featx.core.specs import LayerSpec, Views
from featx.data.batch_loader import Shape
from featx.errors import OptionError
from featx.extraction.forward import Network
from featx.graph.outputs import logits_of
from featx.models.heads import linear_from_softmax
from featx.portable import Scaling
from featx.runs.predictors import LinearPredictor, NetworkPredictor, Predictor


class Calibrated(nn.Module):
    """A calibration of logits.

    Parameters
    ----------
    scaling : Scaling
        Of all classes.
    """

    scale: torch.Tensor
    offset: torch.Tensor

    def __init__(self, scaling: Scaling) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scaling.scale, dtype=torch.float32))
        self.register_buffer("offset", torch.tensor(scaling.offset, dtype=torch.float32))

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """Return calibrated logits (n, k)."""
        return logits * self.scale + self.offset


class Normalized(nn.Module):
    """What is given images in 0..1 and normalises them first, as the network's preprocessing does; and logits last.

    Parameters
    ----------
    predictor : Predictor
        Whose means, deviations and calibration are taken.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        spec = predictor.preprocess
        shape = (1, spec.channels, 1, 1)
        self.register_buffer("mean", torch.tensor(spec.mean).view(shape))
        self.register_buffer("std", torch.tensor(spec.std).view(shape))
        self.calibration = nn.Identity() if predictor.scaling is None else Calibrated(predictor.scaling)

    def normalized(self, image: torch.Tensor) -> torch.Tensor:
        """Return images (n, C, H, W) of values in 0..1 as the network takes them."""
        return (image - self.mean) / self.std


class FittedModel(Normalized):
    """A head of `featx fit` on the network that it was fitted on, cut off after its layer.

    Parameters
    ----------
    predictor : LinearPredictor
        The run's model.
    shape : tuple of int
        (C, H, W) of an image.
    folded : bool
        Whether batch norms are folded into the convolutions before them; else each tensor has the network's own name.
    """

    def __init__(self, predictor: LinearPredictor, shape: Shape, *, folded: bool) -> None:
        super().__init__(predictor)
        network = Network(predictor.backbone, shape)
        parts = parts_of(predictor.layer)
        columns, takes = sum(map(network.columns, parts)), predictor.model.coef.shape[1]
        if columns != takes:
            raise OptionError(
                f"{predictor.layer} has {columns:,} columns for images {shape}, and the run's head takes {takes:,}",
                "images of the size that the run was fitted on are named with --source",
            )
        names = [] if folded else [name for name in network.traced.names() if LayerSpec.can_name(name)]
        keep = [LayerSpec(name) for name in names]
        self.network = network.traced.cut(parts, network.nodes, keep)
        model = predictor.model
        fitted = SimpleNamespace(coef_=model.coef, intercept_=model.intercept, classes_=model.classes)
        self.head = linear_from_softmax(fitted, len(predictor.classes))
        self._normalize = model.normalize

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (n, k) of images (n, C, H, W) with values in 0..1."""
        found = self.network(self.normalized(image))
        rows = found[0] if len(found) == 1 else torch.cat(tuple(found), 1)  # (n, columns)
        if self._normalize == "l2":
            norms = rows.square().sum(1, keepdim=True).sqrt()
            rows = rows / torch.where(norms > 0, norms, torch.ones_like(norms))
        logits: torch.Tensor = self.calibration(self.head(rows))
        return logits


class TrainedModel(Normalized):
    """The network of `featx train`.

    Parameters
    ----------
    predictor : NetworkPredictor
        The run's model.
    """

    def __init__(self, predictor: NetworkPredictor) -> None:
        super().__init__(predictor)
        self.network = predictor.whole
        self._n_classes = len(predictor.classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (n, k) of images (n, C, H, W) with values in 0..1."""
        outputs: Any = self.network(self.normalized(image))
        logits: torch.Tensor = self.calibration(logits_of(outputs, self._n_classes)[0])
        return logits


def exportable(predictor: Predictor, shape: Shape, *, folded: bool = True) -> nn.Module:
    """Return a run's model as one module, in eval mode, float32, on the CPU.

    Parameters
    ----------
    predictor : Predictor
        From `featx.runs.predict.open_predictor`.
    shape : tuple of int
        (C, H, W) of an image.
    folded : bool
        See `FittedModel`.

    Raises
    ------
    OptionError
        The model averages views of an image, which one pass does not see; or its head is for images of another size.
    """
    check_views(predictor)
    if isinstance(predictor, LinearPredictor):
        model: nn.Module = FittedModel(predictor, shape, folded=folded)
    else:
        assert isinstance(predictor, NetworkPredictor)
        model = TrainedModel(predictor)
    return model.eval().requires_grad_(False)


def check_views(predictor: Predictor) -> None:
    """Raise OptionError for a model that averages views of an image."""
    views = predictor.preprocess.views
    if views != Views():
        raise OptionError(
            f"the run averages views of an image ({views}), and an exported model is given one",
            "export a fit without --crops, --flip and --scales, or a training",
        )
