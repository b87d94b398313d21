"""Which rows of a source are learnt from and scored, as a user asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from featx.core.validation import check_range
from featx.errors import OptionError

MOST_HELD_OUT = 0.5
"""The largest share of the training rows that can be held out for validation."""


@dataclass(frozen=True)
class SplitOptions:
    """Which rows are learnt from, and which are scored.

    Parameters
    ----------
    train_split, test_split : str, optional
        Names of the source's splits; None takes what `featx.data.splits.partition` takes.
    limit, per_class : int, optional
        At most so many rows of each split; so many of each class of the rows to learn from.
    root : str, optional
        Folder that the paths of a list start from.
    val_size : float
        Share of the training rows that is held out for validation, 0 to `MOST_HELD_OUT`; with 0 all of them are learnt
        from, and nothing can be chosen. A source with a validation split of its own holds none out.
    exclude : str, optional
        CSV that names images to leave out, see `featx.data.exclusion`.

    Raises
    ------
    OptionError
        For another share.
    """

    train_split: str | None = None
    test_split: str | None = None
    limit: int | None = None
    per_class: int | None = None
    root: str | None = None
    val_size: float = 0.1
    exclude: str | None = None

    def __post_init__(self) -> None:
        check_range("val-size", self.val_size, below=MOST_HELD_OUT, inclusive=True)

    def check_choices(self, choosers: Sequence[str]) -> None:
        """Refuse to hold no rows out where some are needed.

        Parameters
        ----------
        choosers : sequence of str
            What chooses by validation rows, or is fitted on them, as people call it.

        Raises
        ------
        OptionError
            Where there is any and `val_size` is 0.
        """
        if choosers and self.val_size == 0:
            needs = "needs" if len(choosers) == 1 else "need"
            raise OptionError(
                f"--val-size 0 leaves no validation rows, and {' and '.join(choosers)} {needs} them",
                "leave --val-size out, or what chooses",
            )
