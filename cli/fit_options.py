"""The options of ``featx fit`` that say what is fitted, and how."""

from __future__ import annotations

import functools
from collections.abc import Callable

import click

from featx.cli import options
from featx.cli.given import flags, is_given
from featx.cli.headings import ROWS, SEEDS, under
from featx.errors import OptionError
from featx.probes.config import (
    BALANCED,
    CALIBRATE,
    HEADS,
    NO_PENALTY,
    NORMALIZE,
    ON_DEVICE,
    PENALTIES,
    PRESETS,
    RECIPES,
    FitConfig,
)

_number = functools.partial(options.number, FitConfig)

probe = options.gather(
    "probe",
    FitConfig,
    (
        under(
            "Classifier",
            options.choice("--head", HEADS, FitConfig.head, "Softmax regression, or another classifier."),
            _number("--C", float, "Inverse regularization strength."),
            click.option(
                "--standardize/--no-standardize",
                default=FitConfig.standardize,
                show_default=True,
                help="Scale every feature to mean 0 and standard deviation 1.",
            ),
            click.option("--normalize", type=click.Choice(NORMALIZE), help="First divide every row by its norm."),
            options.choice("--penalty", (*PENALTIES, NO_PENALTY), FitConfig.penalty, "Penalty of softmax regression."),
            _number("--l1-ratio", float, "Share of L1 in the elasticnet penalty."),
            click.option(
                "--class-weight", type=click.Choice((BALANCED,)), help="Give all classes the same total weight."
            ),
            click.option(
                "--fit-intercept/--no-fit-intercept",
                default=FitConfig.fit_intercept,
                show_default=True,
                help="Fit an intercept for each class.",
            ),
            _number(
                "--k",
                click.IntRange(min=1),
                "Neighbours of --head knn.  [default: the best of 10, 20, 100, 200 on the validation rows]",
            ),
            _number("--tol", float, "Gradient norm to stop at."),
            _number("--max-iter", int, "At most N steps."),
        ),
        under(
            "By validation rows",
            click.option(
                "--sweep",
                type=click.Choice(PRESETS),
                help="Choose C on the validation rows by a published protocol, and refit; simclr-sgd has no C.",
            ),
            click.option(
                "--halving",
                is_flag=True,
                help="Choose the layer and C on the validation rows by successive halving, and refit.",
            ),
            click.option(
                "--calibrate",
                type=click.Choice(CALIBRATE),
                help="Calibrate on the validation rows: one temperature, or a scale and an offset per class.",
            ),
        ),
        under(
            ROWS,
            _number("--shots", click.IntRange(min=1), "Train on N random rows per class."),
            _number("--draws", click.IntRange(min=1), "How many times --shots draws."),
        ),
        under(SEEDS, options.seed),
    ),
)
"""The command gets `probe`, a `FitConfig`."""

OF_THE_SWEEP = {"C": "--C", "standardize": "--standardize", "normalize": "--normalize"}


def check_sweep(config: FitConfig) -> None:
    """Raise OptionError where an option was given that the sweep, or the halving, decides."""
    given = [flag for name, flag in OF_THE_SWEEP.items() if is_given(name)]
    if config.halving and is_given("C"):
        raise OptionError("--halving chooses --C itself", "leave one or the other out")
    if config.sweep and given:
        raise OptionError(f"--sweep {config.sweep} chooses {', '.join(given)} itself", "leave one or the other out")


def _fitted_by(*heads: str) -> Callable[[FitConfig], bool]:
    return lambda config: config.head in heads


APPLIES: dict[str, Callable[[FitConfig], bool]] = {
    "C": lambda config: config.head in ("softmax", "svm", "ridge") and config.penalty != NO_PENALTY,
    "standardize": lambda config: config.head != "knn",
    "normalize": lambda config: config.head != "knn",
    "penalty": _fitted_by("softmax"),
    "l1_ratio": lambda config: config.penalty == "elasticnet",
    "class_weight": _fitted_by("softmax"),
    "fit_intercept": _fitted_by("softmax", "svm", "ridge"),
    "tol": lambda config: config.head == "softmax" and config.sweep not in RECIPES,
    "max_iter": lambda config: config.head in ("softmax", "svm") and config.sweep not in RECIPES,
    "draws": lambda config: config.shots is not None,
}
"""Option -> whether it has an effect on the fit; all others always have one, or are checked by `FitConfig`."""


def check_head(config: FitConfig) -> None:
    """Raise OptionError if an option was given that has no effect on the fit."""
    idle = [name for name, applies in APPLIES.items() if is_given(name) and not applies(config)]
    if idle:
        beside = f", --penalty {config.penalty}" if config.head == "softmax" else ""
        beside += f", --sweep {config.sweep}" if config.sweep else ""
        beside += "" if config.shots else ", without --shots" if "draws" in idle else ""
        raise OptionError(f"{flags(idle)} would have no effect with --head {config.head}{beside}", "leave it out")


def check_machine(head: str, device: str, *, pixels: bool, note: Callable[[str], None]) -> None:
    """Raise OptionError for a device that nothing would run on; say where only a part of the work does."""
    if device in ("auto", "cpu") or head in ON_DEVICE:
        return
    if pixels:
        raise OptionError(f"--device {device} would have no effect with --head {head} on raw pixels", "leave it out")
    note(f"--device {device} computes the features; --head {head} is fitted on the CPU")
