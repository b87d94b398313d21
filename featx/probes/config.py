"""What a fit on stored features is asked for: `featx fit`, its heads, and the published sweeps over C."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from featx.core.validation import check_choice, check_count, check_flag, check_positive, check_range
from featx.errors import OptionError, choices

Normalize = Literal["l2"]
Penalty = Literal["l2", "l1", "elasticnet"]
NoPenalty = Literal["none"]
Head = Literal["softmax", "knn", "centroid", "lda", "svm", "ridge"]
Balanced = Literal["balanced"]
Preset = Literal["dinov2", "clip", "kornblith", "simclr-sgd"]
Calibrate = Literal["temperature", "vector"]

NORMALIZE: tuple[Normalize, ...] = choices(Normalize)
PENALTIES: tuple[Penalty, ...] = choices(Penalty)
(NO_PENALTY,) = choices(NoPenalty)
HEADS: tuple[Head, ...] = choices(Head)
ON_DEVICE: tuple[Head, ...] = ("softmax", "knn")
"""Heads that are fitted on a device; scikit-learn fits the others, on the CPU."""
(BALANCED,) = choices(Balanced)
DEFAULT_PENALTY: Penalty = "l2"
PRESETS: tuple[Preset, ...] = choices(Preset)
"""The names that ``featx fit --sweep`` takes."""
CALIBRATE: tuple[Calibrate, ...] = choices(Calibrate)
"""What ``--calibrate`` takes."""
CALIBRATED: tuple[Head, ...] = ("softmax", "lda")
"""Heads whose logits can be calibrated: linear ones that give probabilities."""


def log_spaced(first: float, last: float, n: int) -> tuple[float, ...]:
    """Return n powers of ten whose exponents run evenly from `first` to `last`.

    Examples
    --------
    >>> log_spaced(-1, 1, 3)
    (0.1, 1.0, 10.0)
    """
    return tuple(float(10 ** (first + (last - first) * i / (n - 1))) for i in range(n))


@dataclass(frozen=True)
class Sweep:
    """A published way to choose C on validation rows; the features stay as they are unless `normalize` says else.

    Parameters
    ----------
    Cs : tuple of float
        Tried first, in scikit-learn's scaling: C weighs the summed loss against ``||W||^2 / 2``.
    halvings : int
        So often is the interval around the best C halved (in its logarithm), two more C each time.
    normalize : str or None
        ``l2``: rows are divided by their norms.
    origin : str
        Where it is described.
    """

    Cs: tuple[float, ...]
    halvings: int = 0
    normalize: Normalize | None = None
    origin: str = ""


@dataclass(frozen=True)
class SGDRecipe:
    """A published linear evaluation by stochastic gradient descent, which chooses nothing; see `featx.probes.sgd`.

    Parameters
    ----------
    epochs, batch_size : int
        Rounds; rows a step.
    learning_rate, momentum : float
        For 256 rows, growing with the batch; of Nesterov's kind.
    origin : str
        Where it is described.
    """

    epochs: int = 90
    batch_size: int = 4096
    learning_rate: float = 0.1
    momentum: float = 0.9
    origin: str = ""


SWEEPS = {
    "dinov2": Sweep(
        log_spaced(-6, 5, 45),
        origin="Oquab et al. 2023, arXiv:2304.07193; dinov2/eval/log_regression.py: C of 10^-6 to 10^5 on a tenth of "
        "the training rows, refitted on all of them",
    ),
    "clip": Sweep(
        log_spaced(-6, 6, 7),
        halvings=4,
        origin="Radford et al. 2021, arXiv:2103.00020, appendix A.3: from 10^-6, 10^-4, ..., 10^6 the interval around "
        "the peak is halved down to 8 steps a decade",
    ),
    "kornblith": Sweep(
        tuple(1 / penalty for penalty in reversed(log_spaced(-6, 5, 45))),
        normalize="l2",
        origin="Kornblith, Shlens and Le 2019, arXiv:1805.08974: 45 penalties of 10^-6 to 10^5 on the summed loss, "
        "C being their inverses; here on rows of length 1",
    ),
}
RECIPES = {
    "simclr-sgd": SGDRecipe(
        origin="Chen, Kornblith, Norouzi and Hinton 2020, arXiv:2002.05709, appendix B.6: 90 epochs of Nesterov's SGD "
        "without a penalty; here on features computed once, so that no image is cropped or mirrored anew",
    ),
}

OF_HEADS = {
    "C": ("softmax", "svm", "ridge"),
    "fit_intercept": ("softmax", "svm", "ridge"),
    "max_iter": ("softmax", "svm"),
    "tol": ("softmax",),
    "penalty": ("softmax",),
    "class_weight": ("softmax",),
    "standardize": ("softmax", "centroid", "lda", "svm", "ridge"),
    "normalize": ("softmax", "centroid", "lda", "svm", "ridge"),
    "k": ("knn",),
}
"""Options that some heads know nothing of, and the heads that do."""


def idle_options(options: Mapping[str, Any]) -> set[str]:
    """Return the names of a fit's options that change nothing beside the others."""
    head, penalty = options.get("head"), options.get("penalty")
    idle = {name for name, heads in OF_HEADS.items() if head not in heads}
    idle |= {"draws"} if options.get("shots") is None else set()
    idle |= {"calibrate"} if options.get("calibrate") is None else set()
    idle |= {"C"} if options.get("halving") else {"halving"}
    idle |= {"C"} if penalty == NO_PENALTY else set()
    idle |= {"C", "tol", "max_iter"} if options.get("sweep") in RECIPES else set()
    return idle | ({"l1_ratio"} if penalty != "elasticnet" else set())


@dataclass(frozen=True)
class FitConfig:
    """A head on stored features as `featx fit` fits it.

    Parameters
    ----------
    head : str
        ``softmax`` (softmax regression), ``knn`` (DINOv2's weighted vote), ``centroid``, ``lda``, ``svm`` (linear) or
        ``ridge``. The options below are softmax regression's; see `featx.probes.classifiers` for what the others take.
    C : float
        Weighs the summed log loss against ``||W||^2 / 2``, as in scikit-learn.
    sweep : str or None
        One of `SWEEPS`: chooses C, and says what becomes of the features; C, `standardize` and `normalize` then have
        no effect. Or one of `RECIPES`, which has no C.
    standardize, fit_intercept : bool
        Whether columns get mean 0 and deviation 1; whether each class has a constant.
    normalize : str or None
        ``l2``: rows are divided by their norms first.
    penalty : str
        ``l2``, ``none``, or ``l1`` and ``elasticnet`` (by scikit-learn's saga; `l1_ratio` is the latter's).
    class_weight : str or None
        ``balanced``: rows weigh in inverse proportion to their class's frequency.
    k : int or None
        Neighbours of ``knn``; None chooses among `NEIGHBOURS` on the validation rows.
    tol, max_iter : float, int
        Bound of the scale-free gradient norm; steps at most.
    shots, draws : int or None, int
        Fit `draws` times on so many training rows a class, each time drawn anew.
    seed : int
        Of every random choice.
    calibrate : str or None
        ``temperature`` or ``vector``: fits one temperature, or a scale and an offset per class, on the validation rows,
        by the model of the training rows alone where a sweep's has learnt from both (`featx.probes.calibration`).
    halving : bool
        Chooses the layer and C of softmax regression by successive halving (`featx.probes.halving`); C has no effect.
    """

    head: Head = "softmax"
    C: float = 1.0
    sweep: Preset | None = None
    standardize: bool = True
    normalize: Normalize | None = None
    penalty: Penalty | NoPenalty = DEFAULT_PENALTY
    l1_ratio: float = 0.5
    class_weight: Balanced | None = None
    fit_intercept: bool = True
    k: int | None = None
    tol: float = 3e-5
    max_iter: int = 1000
    shots: int | None = None
    draws: int = 10
    seed: int = 0
    calibrate: Calibrate | None = None
    halving: bool = False

    @property
    def choosers(self) -> tuple[str, ...]:
        """What of this is chosen by validation rows, or fitted on them, as the command line calls it."""
        every = {
            f"--sweep {self.sweep}": self.sweep in SWEEPS,
            "--halving": self.halving,
            "--head knn without --k": self.head == "knn" and self.k is None and self.shots is None,
            f"--calibrate {self.calibrate}": self.calibrate is not None,
        }
        return tuple(said for said, chooses in every.items() if chooses)

    NEIGHBOURS: ClassVar = (10, 20, 100, 200)
    TEMPERATURE: ClassVar = 0.07
    LEARNING_RATE: ClassVar = 0.01
    FOLDS: ClassVar = 5

    def __post_init__(self) -> None:
        check_choice("head", self.head, HEADS)
        check_positive("C", self.C)
        check_positive("tol", self.tol)
        check_count("max-iter", self.max_iter)
        check_count("draws", self.draws)
        check_count("seed", self.seed, least=0)
        check_choice("penalty", self.penalty, (*PENALTIES, NO_PENALTY))
        check_range("l1-ratio", self.l1_ratio, below=1, inclusive=True)
        for name, value, known in (
            ("sweep", self.sweep, PRESETS),
            ("normalize", self.normalize, NORMALIZE),
            ("class-weight", self.class_weight, (BALANCED,)),
            ("calibrate", self.calibrate, CALIBRATE),
        ):
            if value is not None:
                check_choice(name, value, known)
        for name, count in (("k", self.k), ("shots", self.shots)):
            if count is not None:
                check_count(name, count)
        self._check_together()

    def _check_halving(self) -> None:
        check_flag("halving", self.halving)
        given = {
            f"--head {self.head}": self.head != "softmax",
            f"--penalty {self.penalty}": self.penalty != DEFAULT_PENALTY,
            f"--sweep {self.sweep}": self.sweep is not None,
            "--shots": self.shots is not None,
            "--normalize": self.normalize is not None,
        }
        against = [said for said, is_given in given.items() if is_given]
        if self.halving and against:
            raise OptionError(
                f"--halving chooses C of softmax regression with the l2 penalty on all training rows, and "
                f"{' and '.join(against)} was given",
                "leave one out",
            )

    def _check_together(self) -> None:
        self._check_halving()
        if self.sweep and self.head != "softmax":
            raise OptionError(f"--sweep chooses C of softmax regression, and --head is {self.head}", "leave one out")
        if self.sweep and self.shots:
            raise OptionError("--sweep and --shots do not go together: a draw has no validation rows", "leave one out")
        if self.sweep and self.penalty != "l2":
            raise OptionError(f"--sweep is over C of the l2 penalty, and --penalty is {self.penalty}", "leave one out")
        if self.sweep in RECIPES and (self.class_weight or not self.fit_intercept):
            raise OptionError(f"--sweep {self.sweep} knows no --class-weight and no --no-fit-intercept", "leave it out")
        if self.head != "softmax" and (self.penalty != "l2" or self.class_weight):
            raise OptionError(f"--penalty and --class-weight are softmax regression's, and --head is {self.head}")
        if self.calibrate and self.head not in CALIBRATED:
            raise OptionError(
                f"--calibrate is for heads that give probabilities by a linear model, {' and '.join(CALIBRATED)}, and "
                f"--head is {self.head}",
                "leave --calibrate out",
            )
        if self.calibrate and self.shots:
            raise OptionError(
                "--calibrate and --shots do not go together: validation rows are more labels than a draw has",
                "leave one out",
            )
        if self.k is not None and self.head != "knn":
            raise OptionError(f"--k is the number of neighbours, and --head is {self.head}", "give --head knn")
