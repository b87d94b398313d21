"""A network with its weights and preprocessing, and what is remembered of it between commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from featx.cache.memo import Memo
from featx.core.specs import BackboneConfig
from featx.errors import WeightsError
from featx.models import factories
from featx.models.facts import Inspection, NetworkFacts
from featx.models.source_hash import code_of
from featx.models.trained_run import TrainedRun

if TYPE_CHECKING:
    from torch import nn

    from featx.models.rebuild import Rebuilt


@dataclass(frozen=True)
class Backbone(NetworkFacts):
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
    held, base : TrainedRun or None, Backbone or None
        The training run that it is of, and what that run's head stands on, where the run keeps its head alone.
    asked_as, asked : str, BackboneConfig
        As what it was looked up, for the record.
    """

    held: TrainedRun | None = None
    base: Backbone | None = None
    asked_as: str = field(default="", compare=False)
    asked: BackboneConfig = field(default_factory=BackboneConfig)

    def module(self) -> nn.Module:
        """Build the network anew: weights loaded, eval mode, float32, on the CPU, without gradients.

        Raises
        ------
        WeightsError
            Where the weights are no longer those that were looked at.
        """
        from featx.models.state_dict import state_hash  # heavy

        module = self._build()
        if state_hash(module) != self.weights_sha256:
            raise WeightsError(f"the weights of {self.name} changed while featx was running", "run it again")
        return module.eval().requires_grad_(False)

    def _build(self) -> nn.Module:
        if self.held is not None:
            return self.rebuilt().network
        from featx.models.builders import build  # heavy

        return build(self)

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
    about: Mapping[str, Any], own: str | None, memo: Memo | None, lasting: bool, inspect: Callable[[], Inspection]
) -> Backbone:
    """Return a network as the memo knows it, where that still holds, else as it is found and may be remembered.

    Parameters
    ----------
    about : mapping
        What was asked for, JSON-able.
    own : str or None
        Names the factory of a network that is the user's.
    memo : Memo or None
        Where it is remembered.
    lasting : bool
        Whether what is found may be remembered at all.
    inspect : callable
        Finds it.
    """
    found = recalled(about, own, memo)
    if found is None:
        found = inspect()
        if memo and lasting and found.is_settled():
            memo.put("backbone", about, found.as_json())
    return Backbone(**vars(found.facts))


def recalled(about: Mapping[str, Any], own: str | None, memo: Memo | None) -> Inspection | None:
    """Return what the memo knows of a network, as `remembered` has it; None where it knows nothing that holds."""
    known = memo.get("backbone", about) if memo else None
    found = Inspection.from_json(known) if known else None
    return found if found is not None and _is_current(found, own) else None


def _is_current(found: Inspection, own: str | None) -> bool:
    """Tell whether what was found of a network still holds."""
    if not found.is_current():
        return False
    # Stamps tell of files that were there: a module that is new may stand before them, or be one that was missed.
    return own is None or code_of(factories.sources(factories.parse(own))) == found.facts.code
