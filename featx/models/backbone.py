"""A network with its weights and preprocessing, and what is remembered of it between commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from featx.cache.memo import Memo
from featx.core.backbone_names import PIXELS
from featx.core.file_stamps import file_stamp, is_settled
from featx.core.specs import PreprocessSpec
from featx.errors import WeightsError
from featx.models import factories
from featx.models.source_hash import code_of
from featx.models.trained_run import TrainedRun

if TYPE_CHECKING:
    from torch import nn

    from featx.models.rebuild import Rebuilt


@dataclass(frozen=True)
class Backbone:
    """A network with weights and the preprocessing that belongs to them.

    Parameters
    ----------
    name : str
        As in ``featx layers``.
    weights : str
        As asked: ``DEFAULT``, ``random:SEED``, a file, ``run:ID``.
    weights_sha256 : str
        Over the weight tensors.
    options : dict
        The builder's keywords.
    preprocess : PreprocessSpec
        What an image goes through.
    head, head_width : str, int
        Dotted name of the classifier and how many values go into it; empty and 0 where there is none.
    left_out : tuple of str
        The classifier, where the file's did not fit; what a run does not hold.
    notes : tuple of str
        What the user should be told.
    file : str or None
        Where the weights lie.
    code : str or None
        SHA-256 of a user's own network code.
    origin : str
        Where that code is: an absolute path or a module, and the factory.
    held, base : Held or None, Backbone or None
        The training run that it is of, and what that run's head stands on, where the run keeps its head alone.
    """

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
    held: TrainedRun | None = None
    base: Backbone | None = None

    def module(self) -> nn.Module:
        """Build the network anew: weights loaded, eval mode, float32, on the CPU, without gradients.

        Raises
        ------
        WeightsError
            Where the weights are no longer those that were looked at.
        """
        from featx.models.state_dict import state_hash  # heavy

        module = self._build()
        if self.name != PIXELS and state_hash(module) != self.weights_sha256:
            raise WeightsError(f"the weights of {self.name} changed while featx was running", "run it again")
        return module.eval().requires_grad_(False)

    def _build(self) -> nn.Module:
        if self.held is not None:
            return self.rebuilt().network
        from featx.models.builders import build

        own = factories.parse(self.origin) if self.origin else None
        return build(self.name, self.weights, self.options, self.head, self.file, own, self.code)

    def rebuilt(self) -> Rebuilt:
        """Build the training run's network anew, with its head.

        Raises
        ------
        OptionError, WeightsError, CorruptStoreError
            As `featx.models.rebuild.rebuild`.
        """
        from featx.models.rebuild import rebuild  # heavy

        assert self.held is not None
        return rebuild(self.held, self.base.module() if self.base else None)


def remembered(
    about: Mapping[str, Any], own: str | None, memo: Memo | None, lasting: bool, inspect: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return what the memo knows of a network, where that still holds, else what is found and may be remembered."""
    known: dict[str, Any] | None = memo.get("backbone", about) if memo else None
    if known is None or not _is_current(known, own):
        known = inspect()
        if memo and lasting and all(is_settled(stamp) for _, stamp in known["files"]):
            memo.put("backbone", about, known)
    return known


def from_facts(known: Mapping[str, Any], weights: str) -> Backbone:
    """Rebuild a backbone from remembered facts; `weights` as they were asked for."""
    return Backbone(
        name=known["name"],
        weights=weights,
        weights_sha256=known["sha256"],
        preprocess=PreprocessSpec.from_dict(known["preset"]),
        options=known["options"],
        head=known["head"],
        head_width=known["head_width"],
        left_out=tuple(known["left_out"]),
        notes=tuple(known["notes"]),
        file=known["file"],
        code=known["code"],
        origin=known["origin"],
    )


def _is_current(known: Mapping[str, Any], own: str | None) -> bool:
    """Tell whether what was found of a network still holds; `own` names the factory of one that is the user's."""
    if not all(_stamp(file) == stamp for file, stamp in known["files"]):
        return False
    # Stamps tell of files that were there: a module that is new may stand before them, or be one that was missed.
    return own is None or bool(code_of(factories.sources(factories.parse(own))) == known["code"])


def _stamp(file: str) -> list[int]:
    try:
        return file_stamp(file)
    except OSError:
        return []
