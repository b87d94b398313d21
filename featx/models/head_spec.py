"""Heads as they are written: ``linear``, ``flat-mlp:256,128:dropout=0.5``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from featx.errors import OptionError

GRAMMAR = "linear, flat-linear, mlp:WIDTHS or flat-mlp:WIDTHS, the last two perhaps with :dropout=P"


@dataclass(frozen=True)
class HeadSpec:
    """A new classifier.

    Parameters
    ----------
    flat : bool
        Whether it stands directly on the convolutional base, whose activation is flattened; else in the place of the
        network's own classifier.
    widths : tuple of int
        Hidden layers, each followed by ReLU and dropout; none for a linear classifier.
    dropout : float
        Share of hidden values set to 0 in training, 0 to less than 1.

    Examples
    --------
    >>> HeadSpec.parse("flat-mlp:256,128:dropout=0.5")
    HeadSpec(flat=True, widths=(256, 128), dropout=0.5)
    """

    flat: bool = False
    widths: tuple[int, ...] = ()
    dropout: float = 0.0

    MOST_LAYERS: ClassVar = 8
    _TEXT: ClassVar = re.compile(
        r"(?P<flat>flat-)?(?:linear|mlp:(?P<widths>[0-9]{1,6}(?:,[0-9]{1,6})*)"
        r"(?::dropout=(?P<dropout>[0-9]*\.?[0-9]+(?:e-?[0-9]{1,3})?))?)",
        re.ASCII,
    )

    def __post_init__(self) -> None:
        if len(self.widths) > self.MOST_LAYERS or not all(1 <= width <= 65536 for width in self.widths):
            raise OptionError(
                f"head has hidden layers of {str(self.widths)[:60]}, expected at most {self.MOST_LAYERS} of 1 to 65536",
                "for example --head mlp:256,128",
            )
        if not 0 <= self.dropout < 1 or (self.dropout and not self.widths):
            raise OptionError(
                f"head has dropout {self.dropout}, expected 0 to less than 1, after hidden layers",
                "for example --head mlp:256:dropout=0.5",
            )

    @classmethod
    def parse(cls, text: str) -> HeadSpec:
        """Read a head; the inverse of ``str``.

        Raises
        ------
        OptionError
            For text that is none.
        """
        found = cls._TEXT.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            said = text[:60] if isinstance(text, str) else text
            raise OptionError(f"head is {said!r:.80}, expected {GRAMMAR}", "for example --head mlp:256,128")
        widths = tuple(map(int, found["widths"].split(","))) if found["widths"] else ()
        return cls(found["flat"] is not None, widths, float(found["dropout"] or 0))

    def __str__(self) -> str:
        kind = f"mlp:{','.join(map(str, self.widths))}" if self.widths else "linear"
        dropout = f":dropout={self.dropout!r}" if self.dropout else ""
        return f"{'flat-' if self.flat else ''}{kind}{dropout}"
