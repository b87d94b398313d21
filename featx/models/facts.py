"""What building a network once tells of it, and how that is remembered; loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from featx.core.file_stamps import file_stamp, is_settled
from featx.core.specs import PreprocessSpec

AS_IT_IS = PreprocessSpec(None, None)
"""Where another place knows what images go through."""

Stamps = dict[str, list[int]]
"""Of each file that was read, as it was before."""


@dataclass(frozen=True)
class NetworkFacts:
    """All that a key and a user need to know of a network; `featx.models.backbone.Backbone` says what each field is."""

    name: str
    weights: str
    weights_sha256: str
    preprocess: PreprocessSpec
    options: dict[str, Any] = field(default_factory=dict)
    head: str = ""
    head_width: int = 0
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    file: str | None = None
    code: str | None = None
    origin: str = ""


@dataclass(frozen=True)
class Inspection:
    """Facts of a network, and the files that they hold for as long as nobody changes them.

    Parameters
    ----------
    facts : NetworkFacts
        What was found.
    stamps : dict
        By file, weights and code: `file_stamp` as it was before the file was read.
    """

    facts: NetworkFacts
    stamps: Stamps

    def is_settled(self) -> bool:
        """Tell whether a later change of a file would be noticed."""
        return all(map(is_settled, self.stamps.values()))

    def is_current(self) -> bool:
        """Tell whether no file changed since."""
        return all(_stamp(file) == stamp for file, stamp in self.stamps.items())

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads; the names are those that older versions of featx read too."""
        known = asdict(self.facts)
        known["sha256"], known["preset"] = known.pop("weights_sha256"), known.pop("preprocess")
        return known | {"files": [[file, stamp] for file, stamp in self.stamps.items()]}

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> Inspection | None:
        """Read what `as_json` gave; None for what a version of featx wrote that knew less."""
        values = dict(known)
        try:
            stamps: Stamps = dict(values.pop("files"))
            values["weights_sha256"] = values.pop("sha256")
            values["preprocess"] = PreprocessSpec.from_dict(values.pop("preset"))
            values |= {name: tuple(values[name]) for name in ("left_out", "notes")}
            return cls(NetworkFacts(**values), stamps)
        except (KeyError, TypeError):
            return None


def stamps_of(files: Iterable[object]) -> Stamps:
    """Return each file's stamp, to be taken before the file is read; None stands for no file."""
    return {str(file): file_stamp(str(file)) for file in files if file is not None}


def _stamp(file: str) -> list[int]:
    try:
        return file_stamp(file)
    except OSError:
        return []
