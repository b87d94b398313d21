"""One row of a recipe's table: what is fitted or trained, whatever the seed."""

from __future__ import annotations

from dataclasses import dataclass, field

from featx.core.concatenation import Feature
from featx.core.specs import BackboneConfig, ExtractConfig
from featx.data.split_options import SplitOptions
from featx.probes.config import FitConfig
from featx.training.config import TrainConfig

ROW = "row:"
"""What a backbone begins with that is another row's trained network, of the same seed."""


@dataclass(frozen=True)
class Candidate:
    """A network that a fit may be of, and the layers that it is chosen with.

    Parameters
    ----------
    name : str
        No other candidate's of the fit.
    backbone, layers, network : str, tuple of LayerSpec or Concatenation, BackboneConfig
        As of `Experiment`.
    """

    name: str
    backbone: str
    layers: tuple[Feature, ...]
    network: BackboneConfig


@dataclass(frozen=True)
class Experiment:
    """One row of a recipe's table.

    Parameters
    ----------
    name : str
        In words, for the table; no two rows of a recipe share it.
    source : str
        As a command takes it.
    backbone : str
        As a command takes it; ``pixels`` for raw pixels; ``row:NAME`` for the network that another row trained.
    how : FitConfig or TrainConfig
        What is done; its own seed is not looked at.
    layers : tuple of LayerSpec or Concatenation
        Of a fit; several, or a pattern: the best by validation is the result. Empty for a training.
    network : BackboneConfig
        Weights, size and so on.
    extraction : ExtractConfig
        Of a fit.
    rows : SplitOptions
        Which rows.
    seeds : tuple of int
        One run each.
    bench : bool
        Of a training: whether the trained network's forward pass is timed at the end.
    candidates : tuple of Candidate
        Of a fit that chooses its network by successive halving, all of them; the first is the row's own.
    """

    name: str
    source: str
    backbone: str
    how: FitConfig | TrainConfig
    layers: tuple[Feature, ...] = ()
    network: BackboneConfig = field(default_factory=BackboneConfig)
    extraction: ExtractConfig = field(default_factory=ExtractConfig)
    rows: SplitOptions = field(default_factory=SplitOptions)
    seeds: tuple[int, ...] = (0,)
    bench: bool = False
    candidates: tuple[Candidate, ...] = ()
