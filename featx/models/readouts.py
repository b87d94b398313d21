"""Published ways to read a vision transformer, by name: layers of it, joined to one feature."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from featx.core.backbone_names import TIMM
from featx.core.concatenation import Concatenation, Feature
from featx.core.specs import LayerSpec
from featx.errors import OptionError

if TYPE_CHECKING:
    from featx.models.backbone import Backbone

STRUCTURES = (
    (re.compile(r"blocks\.(\d+)"), "norm"),
    (re.compile(r"encoder\.layers\.encoder_layer_(\d+)"), "encoder.ln"),
)
"""How the blocks of timm's and of torchvision's vision transformers are called, and the norm after the last."""

BY_CLASS_TOKEN = "token"
"""What timm calls the pooling that takes the class token."""


class Readout(Protocol):
    """A way to read a vision transformer."""

    @property
    def origin(self) -> str:
        """Where it is described, and what is otherwise here."""

    def feature(self, blocks: Sequence[str], norm: str) -> Feature:
        """Return what is read of a network, given its blocks, from the first to the last, and the norm after them."""


@dataclass(frozen=True)
class ClassTokens:
    """The class tokens of the last blocks, and the mean over the last one's tokens.

    Parameters
    ----------
    n : int
        Blocks.
    mean : bool
        Whether the mean is taken too.
    origin : str
        See `Readout`.
    """

    n: int
    mean: bool
    origin: str

    def feature(self, blocks: Sequence[str], norm: str) -> Feature:
        """See `Readout`."""
        if len(blocks) < self.n:
            raise OptionError(
                f"the network has {len(blocks)} blocks, expected {self.n} or more", "give another readout"
            )
        read = [*blocks[len(blocks) - self.n : -1], norm]
        return Concatenation((*(LayerSpec(node, "cls") for node in read), *[LayerSpec(norm, "avg")] * self.mean))


_DINOV2 = "Oquab et al. 2023, arXiv:2304.07193; dinov2/eval/linear.py: create_linear_input"
_OTHERWISE = "the mean is over all tokens, there over the patches alone"
_UNNORMALISED = "blocks before the last are read before a norm, there after the last norm"

READOUTS: dict[str, Readout] = {
    "dinov2-1": ClassTokens(1, True, f"{_DINOV2} with 1 block and average pooling; here {_OTHERWISE}"),
    "dinov2-4": ClassTokens(
        4, True, f"{_DINOV2} with 4 blocks and average pooling; here {_OTHERWISE}, and {_UNNORMALISED}"
    ),
    "dino-4": ClassTokens(
        4, False, f"Caron et al. 2021, arXiv:2104.14294; eval_linear.py with n_last_blocks=4; here {_UNNORMALISED}"
    ),
}
"""By what ``--readout`` calls them."""


@dataclass(frozen=True)
class Read:
    """What a readout means for a network.

    Parameters
    ----------
    name : str
        Of the readout.
    feature : LayerSpec or Concatenation
        What is read.
    notes : list of str
        What a user should know.
    """

    name: str
    feature: Feature
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return what a record tells of it."""
        return {
            "name": self.name,
            "layer": str(self.feature),
            "origin": READOUTS[self.name].origin,
            "notes": self.notes,
        }


def read_out(name: str, backbone: Backbone) -> Read:
    """Return what a readout means for a network, which is built for it.

    Raises
    ------
    OptionError
        The network is no vision transformer of timm or torchvision, or has too few blocks.
    """
    from featx.graph.hooked import read_network  # torch

    module = backbone.module()
    names = read_network(module, backbone.left_out).names()
    for pattern, norm in STRUCTURES:
        blocks = sorted((int(found[1]), node) for node in names if (found := pattern.fullmatch(node)))
        if blocks and norm in names:
            feature = READOUTS[name].feature([node for _, node in blocks], norm)
            return Read(name, feature, _notes(name, backbone.name, module))
    raise OptionError(
        f"--readout {name} is for vision transformers of timm or torchvision, and {backbone.name} has no such blocks",
        f"give -l: `featx layers {backbone.name}` lists layers",
    )


def _notes(name: str, backbone: str, module: Any) -> list[str]:
    if not backbone.startswith(TIMM):
        return []
    pooling, tokens = getattr(module, "global_pool", None), getattr(module, "num_prefix_tokens", 1)
    notes = []
    if pooling == BY_CLASS_TOKEN:
        notes.append(f"timm reads {backbone} by its class token alone; --readout {name} is another feature")
    else:
        notes.append(
            f"warning: timm reads {backbone} by {pooling!r} pooling, not by its class token, which --readout {name} "
            "takes: its training may have left it unused"
        )
    if tokens > 1:
        notes.append(f"{backbone} has {tokens - 1} more tokens that are no patches; the mean is over them too")
    return notes
