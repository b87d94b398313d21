"""Layer and C chosen by successive halving: all candidates on few rows, the better half on twice as many, and so on.

Each candidate is a layer, of one network or of several, and a C. Every fit is exact, on rows that contain those of the
round before, and begins where that round's fit of the same candidate ended. Validation rows rank; no test row is looked
at.

Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization", arXiv:1502.07943.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils import compute_sample_weight

from featx.core.device import torch_device
from featx.errors import SourceError
from featx.probes.config import FitConfig, log_spaced
from featx.probes.halving_rounds import Candidate, Networks, Round, chances_of, named
from featx.probes.linear_classifier import NotConvergedWarning
from featx.probes.problem import make_problem, to_coefficients
from featx.probes.regularization_path import fit_path
from featx.probes.softmax_cv import predicted
from featx.probes.streaming import fitting_on, to_device

HALVED_CS = log_spaced(-6, 4, 21)
"""The C that are tried on each layer."""

LEAST_ROWS, LEAST_PER_CLASS = 256, 10
"""Rows of the first round at least, in all and on average per class."""

ORIGIN = "successive halving: Jamieson and Talwalkar 2016, arXiv:1502.07943"

Labelled = tuple[Any, npt.NDArray[np.int64]]


class Rows(Protocol):
    """A layer's rows."""

    @property
    def columns(self) -> int:
        """Values of a row."""

    def labels(self, use: str) -> npt.NDArray[np.int64]:
        """Return the class numbers of ``train`` or ``val``."""

    def read(self, use: str, places: npt.NDArray[np.int64] | None = None) -> Labelled:
        """Return float32 features (n, d) and labels (n,) of ``train`` or ``val``, or of some of its rows."""


@dataclass(frozen=True)
class InMemory:
    """Rows that are held already.

    Parameters
    ----------
    data : mapping
        X and y by part.
    """

    data: Mapping[str, Labelled]

    @property
    def columns(self) -> int:
        """Values of a row."""
        return int(self.data["train"][0].shape[1])

    def labels(self, use: str) -> npt.NDArray[np.int64]:
        """See `Rows`."""
        return self.data[use][1]

    def read(self, use: str, places: npt.NDArray[np.int64] | None = None) -> Labelled:
        """See `Rows`."""
        X, y = self.data[use]
        return (X, y) if places is None else (X[places], y[places])


@dataclass(frozen=True)
class Halving:
    """What was chosen, and how.

    Parameters
    ----------
    layer : str
        Chosen; of several networks, as `networks` calls it.
    C : float
        Chosen.
    rounds : list of Round
        From few rows to all.
    columns : dict of str to int
        Values of a row, by layer: of all candidates.
    chances : dict
        How sure the choice is; see `chances_of`.
    networks : mapping of str to (str, str)
        Of several networks: by layer, as it is called here, its network, and what it is called there.
    """

    layer: str
    C: float
    rounds: list[Round]
    columns: dict[str, int]
    chances: dict[str, Any]
    networks: Networks = field(default_factory=dict)

    def layers_of(self, network: str | None = None) -> dict[str, str]:
        """Return the layers of a network, the chosen one by default: how they are called here, and there."""
        if not self.networks:
            return {layer: layer for layer in self.columns}
        network = network or self.networks[self.layer][0]
        return {name: layer for name, (whose, layer) in self.networks.items() if whose == network}

    @property
    def seconds(self) -> float:
        """Of all rounds."""
        return sum(one.seconds for one in self.rounds)

    @property
    def seconds_of_all(self) -> float:
        """About what all candidates would have taken on all rows.

        As long for each column as those of the last round, which began near their ends: rather too little.
        """
        last = self.rounds[-1]
        fitted = sum(self.columns[layer] for layer, _ in last.right)
        return last.seconds * sum(self.columns[layer] for layer, _ in self.rounds[0].right) / fitted

    def search(self) -> dict[str, Any]:
        """Return the C of the chosen layer that were fitted on all rows, as a sweep tells of them."""
        last = self.rounds[-1]
        Cs = sorted(C for layer, C in last.right if layer == self.layer)
        return {
            "over": "C",
            "values": Cs,
            "accuracy": [last.accuracy((self.layer, C)) for C in Cs],
            "chosen": self.C,
            "origin": ORIGIN,
            "converged": [last.converged[self.layer, C] for C in Cs],
        }

    def last_of(self, layer: str) -> tuple[Round, float]:
        """Return the last round that a layer was in, and its best C there."""
        found = [one for one in self.rounds if any(layer == name for name, _ in one.right)][-1]
        return found, next(C for name, C in found.ranked() if name == layer)

    def as_dict(self) -> dict[str, Any]:
        """Return what a record tells of it, JSON-able."""
        lines = []
        for one in self.rounds:
            best, C = one.ranked()[0]
            lines.append(
                {
                    "rows": one.rows,
                    "layers": len({layer for layer, _ in one.right}),
                    "fits": len(one.right),
                    "best": {**named(best, self.networks), "C": C, "accuracy": one.accuracy((best, C))},
                    "seconds": one.seconds,
                }
            )
        tried, most = len(self.rounds[0].right), self.rounds[-1].rows
        return {
            "origin": ORIGIN,
            "candidates": tried,
            "Cs": sorted({C for _, C in self.rounds[0].right}),
            "rounds": lines,
            "share_of_rows": sum(one.rows * len(one.right) for one in self.rounds) / (tried * most),
            "seconds": self.seconds,
            "seconds_of_all": self.seconds_of_all,
            "chances": self.chances,
        }


def halve(
    rows: Mapping[str, Rows],
    config: FitConfig,
    device: str,
    Cs: Sequence[float] = HALVED_CS,
    *,
    networks: Networks | None = None,
) -> Halving:
    """Choose a layer and C.

    Parameters
    ----------
    rows : mapping of str to Rows
        By layer; the labels of all are the same.
    config : FitConfig
        How each fit is made; its seed decides which rows come first.
    device : str
        Where each layer's rows are during its fits.
    Cs : sequence of float
        Tried on each layer.
    networks : mapping of str to (str, str), optional
        See `Halving`.

    Raises
    ------
    SourceError
        There are no validation rows, or fewer than two classes to learn from.

    Warns
    -----
    NotConvergedWarning
        Fits that did not reach ``config.tol``.
    """
    first = next(iter(rows.values()))
    labels, y_val = first.labels("train"), first.labels("val")
    if not len(y_val) or len(np.unique(labels)) < 2:
        found = f"{len(y_val)} validation rows and {len(np.unique(labels))} classes to learn from"
        raise SourceError(f"--halving found {found}, expected some rows and two classes", "give more images")
    order = nested_order(labels, config.seed)
    left: list[Candidate] = [(layer, C) for layer in rows for C in sorted(Cs)]
    sizes = sizes_of(len(labels), len(np.unique(labels)), len(left))
    starts: dict[Candidate, torch.Tensor] = {}
    rounds: list[Round] = []
    for size in sizes:
        one = Round(size)
        places = np.sort(order[:size])
        for layer in dict.fromkeys(layer for layer, _ in left):
            began = time.perf_counter()
            own = sorted(C for name, C in left if name == layer)
            _fit(one, layer, own, rows[layer], places, starts, config, device)
            one.seconds_of[layer] = time.perf_counter() - began
        ranked = one.ranked()
        one.kept = ranked if size == sizes[-1] else ranked[: math.ceil(len(ranked) / 2)]
        left, starts = one.kept, {name: starts[name] for name in one.kept}
        rounds.append(one)
    _warn(rounds)
    layer, C = rounds[-1].ranked()[0]
    widths = {name: some.columns for name, some in rows.items()}
    networks = networks or {}
    return Halving(layer, C, rounds, widths, chances_of(rounds, y_val, config.seed, networks), networks)


def nested_order(labels: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Return row numbers so that the first n, for any n, have the classes' shares: one of each class comes first."""
    random = np.random.default_rng(seed)
    places = np.empty(len(labels))
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        places[rows] = np.append(0, np.arange(1, len(rows)) + 0.5) / len(rows)
    order: npt.NDArray[np.int64] = np.lexsort((random.permutation(len(labels)), places))
    return order


def sizes_of(n: int, classes: int, candidates: int) -> list[int]:
    """Return the rows of each round, the last of them all: halved while enough are left, and candidates to drop."""
    least = max(LEAST_ROWS, LEAST_PER_CLASS * classes)
    sizes = [n]
    while sizes[0] // 2 >= least and candidates > 2 ** len(sizes):
        sizes.insert(0, sizes[0] // 2)
    return sizes


def _fit(
    one: Round,
    layer: str,
    Cs: Sequence[float],
    rows: Rows,
    places: npt.NDArray[np.int64],
    starts: dict[Candidate, torch.Tensor],
    config: FitConfig,
    where: str,
) -> None:
    """Fit a layer's candidates on some rows, from small C to large, and see what they predict."""
    (X, y), (X_val, y_val), device = rows.read("train", places), rows.read("val"), torch_device(where)
    present, target = np.unique(y, return_inverse=True)
    with fitting_on(device, X):
        problem = make_problem(
            to_device(X, device),
            torch.from_numpy(target.astype(np.int64)).to(device),
            len(present),
            C=Cs[0],
            weight=torch.from_numpy(compute_sample_weight(config.class_weight, y).astype(np.float64)).to(device),
            fit_intercept=config.fit_intercept,
            standardize=config.standardize,
        )
        known = {C: starts[layer, C] for C in Cs if (layer, C) in starts}
        path = fit_path(problem, Cs, tol=config.tol, max_iter=config.max_iter, starts=known)
        for C, solution in zip(Cs, path, strict=True):
            coef, intercept = (part.cpu().numpy() for part in to_coefficients(problem, solution.point))
            one.right[layer, C] = present[predicted(X_val, coef, intercept)] == y_val
            one.converged[layer, C] = solution.converged
            starts[layer, C] = solution.point


def _warn(rounds: Sequence[Round]) -> None:
    fits = [converged for one in rounds for converged in one.converged.values()]
    if not all(fits):
        said = f"{fits.count(False)} of the {len(fits)} fits of the halving did not converge"
        warnings.warn(f"{said} (raise max_iter, or standardize)", NotConvergedWarning, stacklevel=3)
