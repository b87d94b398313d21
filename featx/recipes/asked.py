"""What a comparison is asked for. Loads no torch: a mistyped word is answered at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from featx.core.concatenation import Feature
from featx.core.specs import ExtractConfig
from featx.data.split_options import SplitOptions
from featx.errors import OptionError, suggest
from featx.training.config import TrainConfig

KINDS = ("pixels", "softmax", "frozen", "last-block", "finetune", "scratch")
"""Short names of the rows, as ``--only`` and ``--without`` take them, in the order of the table."""


@dataclass(frozen=True)
class Asked:
    """What a comparison is asked for.

    Parameters
    ----------
    source : str
        As a command takes it.
    layers : tuple of LayerSpec or Concatenation
        Instead of the default layer and the earlier ones.
    only, without : tuple of str
        Some of `KINDS`; nothing means all, and none.
    seeds : tuple of int
        Of every row.
    epochs : int, optional
        Of every training; None as many as suit the number of images.
    batch_size : int
        Of every training.
    rows : SplitOptions
        Which rows.
    extraction : ExtractConfig
        Precision, device and so on, of fits and trainings.
    """

    source: str
    layers: tuple[Feature, ...] = ()
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int | None = None
    batch_size: int = TrainConfig.batch_size
    rows: SplitOptions = field(default_factory=SplitOptions)
    extraction: ExtractConfig = field(default_factory=ExtractConfig)

    def __post_init__(self) -> None:
        for flag, names in (("--only", self.only), ("--without", self.without)):
            for name in names:
                if name not in KINDS:
                    known = ", ".join(KINDS)
                    raise OptionError(f"{flag} {name[:80]!r}: there is no such row", suggest(name, KINDS) or known)
        if not self.kinds:
            raise OptionError("--only and --without leave no row", f"rows are {', '.join(KINDS)}")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The short names that are wanted."""
        return tuple(name for name in KINDS if name in (self.only or KINDS) and name not in self.without)
