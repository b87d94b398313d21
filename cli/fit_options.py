"""The options of ``featx fit`` that say what is fitted, and how."""

from __future__ import annotations

import click
from click.core import ParameterSource

from featx.cli import options
from featx.errors import OptionError
from featx.fit_config import BALANCED, HEADS, NO_PENALTY, NORMALIZE, PENALTIES, PRESETS, FitConfig

probe = options.gather(
    "probe",
    FitConfig,
    (
        options.choice("--head", HEADS, FitConfig.head, "Softmax regression, or another classifier."),
        click.option(
            "--C", "C", type=float, metavar="X", default=FitConfig.C, show_default=True, help="Inverse penalty."
        ),
        click.option(
            "--sweep",
            type=click.Choice(PRESETS),
            help="Choose C on the validation rows, as published, and refit; simclr-sgd has no C.",
        ),
        click.option(
            "--standardize/--no-standardize",
            default=FitConfig.standardize,
            show_default=True,
            help="Give every feature mean 0 and deviation 1.",
        ),
        click.option("--normalize", type=click.Choice(NORMALIZE), help="Divide every row by its norm first."),
        options.choice("--penalty", (*PENALTIES, NO_PENALTY), FitConfig.penalty, "Of softmax regression."),
        click.option(
            "--l1-ratio",
            type=float,
            metavar="X",
            default=FitConfig.l1_ratio,
            show_default=True,
            help="Share of L1 in the elasticnet penalty.",
        ),
        click.option("--class-weight", type=click.Choice((BALANCED,)), help="Give all classes the same weight."),
        click.option(
            "--fit-intercept/--no-fit-intercept",
            default=FitConfig.fit_intercept,
            show_default=True,
            help="Fit a constant for each class.",
        ),
        click.option(
            "--k",
            "k",
            type=click.IntRange(min=1),
            metavar="N",
            help="Neighbours of --head knn.  [default: the best of 10, 20, 100, 200 on the validation rows]",
        ),
        click.option(
            "--tol", type=float, metavar="X", default=FitConfig.tol, show_default=True, help="Gradient norm to reach."
        ),
        click.option(
            "--max-iter", type=int, metavar="N", default=FitConfig.max_iter, show_default=True, help="At most N steps."
        ),
        click.option("--shots", type=click.IntRange(min=1), metavar="N", help="Learn from N rows a class, drawn."),
        click.option(
            "--draws",
            type=click.IntRange(min=1),
            metavar="N",
            default=FitConfig.draws,
            show_default=True,
            help="Times that --shots draws.",
        ),
        options.seed,
    ),
)
"""The command gets `probe`, a `FitConfig`."""

OF_THE_SWEEP = {"C": "--C", "standardize": "--standardize", "normalize": "--normalize"}


def check_sweep(config: FitConfig) -> None:
    """Raise OptionError where an option was given that the sweep decides."""
    context = click.get_current_context()
    given = [
        flag for name, flag in OF_THE_SWEEP.items() if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if config.sweep and given:
        raise OptionError(f"--sweep {config.sweep} decides {', '.join(given)}", "leave one or the other out")
