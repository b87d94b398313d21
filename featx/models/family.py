"""What a family of backbones must give: a class of its own, and its line in `featx.models.families.FAMILIES`.

Loads no torch: what a name means and which options it takes is told before anything is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from featx.models.facts import Inspection
from featx.models.weights import existing, is_seed

if TYPE_CHECKING:
    from torch import nn

    from featx.models.state_dict import StateDict


@dataclass(frozen=True)
class Asked:
    """What was asked for of a network.

    Parameters
    ----------
    name, weights, stem : str
        As `featx.models.backbones.resolve` takes them.
    is_file : bool
        Whether the weights are meant to be a file.
    channels : int
        That the family's networks give images of this source: `Family.channels`.
    size : int or None
        In px; None too where the family's networks take any.
    """

    name: str
    weights: str
    stem: str | None
    is_file: bool
    channels: int
    size: int | None


@dataclass(frozen=True)
class Blueprint:
    """What a network is built from, its weights aside; each field is that of `featx.models.facts.NetworkFacts`."""

    name: str
    options: Mapping[str, Any]
    origin: str = ""
    code: str | None = None


class Family(Protocol):
    """Backbones that are looked up, built and read in the same way.

    A class names this one as its base and gives `inspect` and `build`; the rest is as most families have it.

    Attributes
    ----------
    packages : tuple of str
        Whose versions features depend on, beside featx, torch and torchvision.
    is_users_code : bool
        Whether networks are a user's own code, which their keys hold, and which no foreign record may name. They say
        themselves how many channels an image has.
    takes_size : bool
        Whether networks are built for one size of image, so that what is found of one holds for that size alone.
    is_always_traced : bool
        Whether tracing is known to read all of the networks; how others are read is looked up, and said.
    """

    packages: tuple[str, ...] = ()
    is_users_code: bool = False
    takes_size: bool = False
    is_always_traced: bool = False

    def check(self, asked: Asked) -> None:
        """Refuse a name or weights that cannot be had, as far as that can be told without torch.

        Called before `inspect`, and before the images are looked at, so that a mistyped word is answered at once.

        Raises
        ------
        OptionError, WeightsError
            As `inspect`.
        """
        if not is_seed(asked.weights) and asked.is_file:
            existing(asked.weights)

    def inspect(self, asked: Asked) -> Inspection:
        """Build a network once, with its weights, and return what is to be remembered of it.

        Parameters
        ----------
        asked : Asked
            The network; `featx.models.assembly` has the steps that families share.

        Raises
        ------
        OptionError, WeightsError
            For names and weights that cannot be had.
        """

    def build(self, plan: Blueprint) -> nn.Module:
        """Build a network whose weights are drawn from torch's generator, as the caller seeded it.

        Parameters
        ----------
        plan : Blueprint
            With the options that `inspect` found, or that a run's record tells.
        """

    def names(self) -> list[str]:
        """Return the full names of the networks that are offered and suggested; a name in the dictionary needs none."""
        return []

    def channels(self, source: int | None) -> int:
        """Return how many channels the networks are given of images with so many, or of unknown ones."""
        return 3

    def takes_stem(self, name: str) -> bool:
        """Tell whether `stem` changes a network's first layers."""
        return False

    def can_remember(self, weights: str) -> bool:
        """Tell whether the memo may keep what is found with these weights: files are seen to change, nothing else."""
        return True

    def tensors(self, module: nn.Module, plan: Blueprint, weights: str, file: str) -> StateDict:
        """Read the tensors of a file, as they fit a network.

        Parameters
        ----------
        module : nn.Module
            The network, as `build` gave it.
        plan : Blueprint
            What it was built from.
        weights : str
            What was asked for: published weights may need to be renamed.
        file : str
            Where they lie.
        """
        from featx.models.assembly import read_tensors  # heavy

        return read_tensors(module, file)

    def recorded_weights(self, module: nn.Module, plan: Blueprint, file: str) -> str:
        """Return what a file is to `tensors` whose origin nobody tells: itself, or the published weights."""
        return file

    def find_head(self, module: nn.Module) -> str:
        """Return the dotted name of a network's classifier; empty where there is none that could be told."""
        from featx.models.own_head import find_own_head  # heavy

        return find_own_head(module)
