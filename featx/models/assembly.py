"""Steps that families of backbones share: weights drawn from a seed, tensors loaded, facts told. Loads torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from featx.core.backbone_names import DRAWN
from featx.core.rng import isolated_rng
from featx.errors import first_few
from featx.graph.fold_batch_norm import batch_bound
from featx.models.facts import AS_IT_IS, NetworkFacts
from featx.models.heads import head_width
from featx.models.state_dict import StateDict, load_into, read_state, state_hash


def draw(weights: str, build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network with weights drawn from its seed; those of a file come later."""
    with isolated_rng(int(weights.removeprefix(DRAWN)) if weights.startswith(DRAWN) else 0):
        return build()


def read_tensors(module: nn.Module, file: str) -> StateDict:
    """Read a file's tensors; the network tells which names are meant."""
    return read_state(Path(file), lambda: set(module.state_dict()))


def facts_with(
    state: StateDict | None, module: nn.Module, name: str, weights: str, options: Mapping[str, Any], head: str
) -> NetworkFacts:
    """Load weights and return what can be told of any network; who knows its images says so.

    Parameters
    ----------
    state : dict of Tensor or None
        Of a file; None leaves the weights as they are.
    module : nn.Module
        The network, which is changed.
    name, weights, options : str, str, mapping
        As `NetworkFacts` has them.
    head : str
        Dotted name of the classifier, or empty.
    """
    width = head_width(module.get_submodule(head)) if head else 0  # of what may be left out
    left_out = () if state is None else load_into(module, state, head, weights)
    notes = [f"{weights}: its classifier {part} has another shape and was left out" for part in left_out]
    return NetworkFacts(
        name=name,
        weights=weights,
        weights_sha256=state_hash(module),
        preprocess=AS_IT_IS,
        options=dict(options),
        head=head,
        head_width=width,
        left_out=left_out,
        notes=(*notes, *batch_notes(module)),
    )


def batch_notes(module: nn.Module) -> list[str]:
    """Return what is to be said of a network whose features depend on which images are in a batch."""
    bound = batch_bound(module)
    said = "features of an image depend on the others of its batch: BatchNorm without running statistics, at "
    return [said + first_few(bound)] if bound else []
