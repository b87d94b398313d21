"""Which tensors a run keeps: those that it learnt and, on request, those that it depends on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from featx.core.recorded import HEAD, KEPT_FILE, NETWORK
from featx.core.run_folder import Run
from featx.models.backbones import Backbone
from featx.models.head_spec import HeadSpec
from featx.training.config import TrainConfig

Arrays = dict[str, npt.NDArray[Any]]


def kept_tensors(module: nn.Module, backbone: Backbone, config: TrainConfig, *, everything: bool) -> tuple[Arrays, str]:
    """Return the tensors that a training keeps, and what they are: `HEAD` or `NETWORK`.

    A frozen base is left out where each of its tensors is the backbone's own, bit for bit.

    Parameters
    ----------
    module : nn.Module
        The trained network, on the CPU.
    backbone : Backbone
        What it was before.
    config : TrainConfig
        Mode and head.
    everything : bool
        Keep the base too.
    """
    state = module.state_dict()
    if config.mode == "frozen" and not everything:
        flat = HeadSpec.parse(config.head).flat
        own = "head." if flat else f"{backbone.head}."
        head = {name: tensor for name, tensor in state.items() if name.startswith(own)}
        prefix = "base." if flat else ""
        rest = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name not in head}
        if _all_in(rest, backbone.module().state_dict()):
            return _arrays(head), HEAD
    return _arrays(state), NETWORK


def keep_base(run: Run, backbone: Backbone) -> None:
    """Write the tensors of the network that a fit depends on into its run's folder."""
    module = backbone.module() if backbone.held is None else backbone.rebuilt().whole
    run.save_tensors(_arrays(module.state_dict()), KEPT_FILE)


def held_fields(backbone: Backbone) -> dict[str, Any] | None:
    """Return what a record says of the head that a network has from another training run."""
    held = backbone.held
    return None if held is None else {"head": held.head, "n_classes": held.n_classes}


def _all_in(some: dict[str, torch.Tensor], all_of: dict[str, torch.Tensor]) -> bool:
    return all(name in all_of and torch.equal(tensor, all_of[name]) for name, tensor in some.items())


def _arrays(state: dict[str, torch.Tensor]) -> Arrays:
    return {name: np.asarray(tensor.detach().cpu()) for name, tensor in state.items()}
