"""A round of successive halving, and how likely other validation rows would have chosen otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from featx.core.bootstrap import DRAWS, Resampled, RowScore

METHOD = "bootstrap of the validation rows, stratified by class and paired"
SAME = 1e-9
"""Resampled accuracies that differ by less are equal."""

Candidate = tuple[str, float]
"""A layer and a C."""

Networks = Mapping[str, tuple[str, str]]
"""By the name of a candidate's layer, whose it is, and what it is called there; empty where all are of one network."""

Rights = npt.NDArray[np.bool_]


@dataclass
class Round:
    """One round.

    Parameters
    ----------
    rows : int
        Training rows of each fit.
    right : dict
        By candidate, which validation rows it predicts.
    converged : dict
        Which fits reached their tolerance.
    kept : list of Candidate
        The candidates of the next round, the best first; of the last round, all.
    seconds_of : dict of str to float
        By layer, of reading, fitting and predicting.
    """

    rows: int
    right: dict[Candidate, Rights] = field(default_factory=dict)
    converged: dict[Candidate, bool] = field(default_factory=dict)
    kept: list[Candidate] = field(default_factory=list)
    seconds_of: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Of reading, fitting and predicting."""
        return sum(self.seconds_of.values())

    def accuracy(self, candidate: Candidate) -> float:
        """Return the share of the validation rows that a candidate predicts."""
        return float(self.right[candidate].mean())

    def ranked(self) -> list[Candidate]:
        """Return the candidates, the best first; of equal ones the smaller C, then the earlier layer."""
        places = {layer: place for place, layer in enumerate(dict.fromkeys(layer for layer, _ in self.right))}
        return sorted(self.right, key=lambda one: (-int(self.right[one].sum()), one[1], places[one[0]]))


def named(layer: str, networks: Networks) -> dict[str, str]:
    """Return what a record calls a candidate's layer: of several networks, its network too."""
    return dict(zip(("network", "layer"), networks[layer], strict=True)) if networks else {"layer": layer}


def chances_of(rounds: Sequence[Round], y_val: npt.NDArray[np.int64], seed: int, networks: Networks) -> dict[str, Any]:
    """Return how likely other validation rows would have chosen otherwise.

    ``another`` and ``another_layer``: the share of resampled validation rows on which another candidate of the last
    round, or one of another layer, predicts more than the chosen one. ``runner_up``: the one that most often does.
    ``dropped_last``: the best of those that were dropped before the last round, against the chosen one as it was then.
    Of several networks there is also ``another_network``, and a layer of another network is another layer.
    """
    last = rounds[-1]
    ranked = last.ranked()
    found: dict[str, Any] = {"method": METHOD, "draws": DRAWS, "another": 0.0, "another_layer": 0.0, "runner_up": None}
    if networks:
        found["another_network"] = 0.0
    if len(ranked) > 1:
        drawn = _resampled(last, ranked, y_val, seed)
        ahead = drawn[:, 1:] > drawn[:, :1] + SAME  # (draws, others)
        elsewhere = [layer != ranked[0][0] for layer, _ in ranked[1:]]
        most = int(ahead.mean(axis=0).argmax())
        found["another"] = float(ahead.any(axis=1).mean())
        found["another_layer"] = float(ahead[:, elsewhere].any(axis=1).mean())
        if networks:
            abroad = [networks[layer][0] != networks[ranked[0][0]][0] for layer, _ in ranked[1:]]
            found["another_network"] = float(ahead[:, abroad].any(axis=1).mean())
        found["runner_up"] = _told(last, ranked[1 + most], float(ahead[:, most].mean()), networks)
    found["dropped_last"] = None
    if len(rounds) > 1:
        before = rounds[-2]
        dropped = before.ranked()[len(before.kept)]
        drawn = _resampled(before, [ranked[0], dropped], y_val, seed)
        found["dropped_last"] = _told(before, dropped, float((drawn[:, 1] > drawn[:, 0] + SAME).mean()), networks)
    return found


def _told(one: Round, candidate: Candidate, chance: float, networks: Networks) -> dict[str, Any]:
    layer, C = candidate
    return {**named(layer, networks), "C": C, "rows": one.rows, "accuracy": one.accuracy(candidate), "chance": chance}


def _resampled(
    one: Round, candidates: Sequence[Candidate], y_val: npt.NDArray[np.int64], seed: int
) -> npt.NDArray[np.float64]:
    """Return accuracies (draws, candidates) on resampled validation rows."""
    scores = [RowScore(one.right[candidate][:, None].astype(np.float32)) for candidate in candidates]
    return Resampled(scores, y_val, draws=DRAWS, seed=seed).drawn
