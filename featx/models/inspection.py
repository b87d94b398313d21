"""Networks inspected: built once to learn which weights fit, what a key and a user need to know.

Loads torch where the network has weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from featx.models import factories
from featx.models.facts import Inspection, stamps_of
from featx.models.families import check_known, family_of
from featx.models.family import Asked, Blueprint
from featx.models.source_hash import code_of


def inspect(asked: Asked) -> Inspection:
    """Build a network once, and return what is to be remembered of it.

    Raises
    ------
    OptionError, WeightsError
        For names and weights that cannot be had.
    """
    check_known(asked.name)
    return family_of(asked.name).inspect(asked)


def inspect_recorded(name: str, file: str, options: dict[str, Any], origin: str) -> Inspection:
    """Build a network with the options of a run's record and the tensors of a file; return as `inspect` does.

    Parameters
    ----------
    name : str
        As it was recorded.
    file : str
        Absolute; what becomes of its tensors depends on the record alone, not on how the file is called.
    options : dict
        The builder's keywords.
    origin : str
        Where a user's own code is; empty for others.

    Raises
    ------
    OptionError, WeightsError
        The file is made for another network, or the code cannot be had.
    """
    from featx.models.assembly import draw, facts_with  # heavy

    family = family_of(name)
    sources = factories.sources(factories.parse(origin)) if family.is_users_code else {}
    stamps = stamps_of([file, *sources.values()])
    plan = Blueprint(name, options, origin, code_of(sources) if family.is_users_code else None)
    module = draw(file, lambda: family.build(plan))
    weights = family.recorded_weights(module, plan, file)
    state = family.tensors(module, plan, weights, file)
    facts = facts_with(state, module, name, weights, options, family.find_head(module))
    return Inspection(replace(facts, file=file, code=plan.code, origin=origin), stamps)
