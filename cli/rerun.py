"""``featx rerun``: a run repeated from its record, and whether it came out equal."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from featx.cli import options
from featx.cli.completion import complete_run
from featx.cli.failures import UNEQUAL
from featx.cli.importing import importing
from featx.cli.output import Output

if TYPE_CHECKING:
    from featx.runs.rerun import Difference

WHAT = {
    "file": "another network",
    "rows": "other images or labels",
    "version": "another version",
    "device": "another machine or device",
    "option": "another option",
}
"""What a cause is, in words."""


@click.command
@click.argument("run", shell_complete=complete_run)
@click.option(
    "--recompute",
    is_flag=True,
    help="Compute all features anew, in a store that is removed afterwards, instead of reading stored ones.",
)
@options.common
def rerun(out: Output, home: Path, run: str, recompute: bool) -> None:
    """Repeat a run from its record and say whether it came out equal.

    RUN is the id, or the folder, of a run of `featx fit` or `featx train`. Images, rows, network, options and seed are
    those of its record. The result is a run of its own, which is compared with the first bit by bit: scores, curves,
    tensors and predictions. Where they differ, the versions, files and devices that differ too are named, and the exit
    code is 7.

    \b
    Examples:
      featx rerun 20261121
      featx rerun 20261121 --recompute --json
    """
    from featx.core.run_folder import Runs

    runs = Runs(home)
    first = runs.open(run)
    with importing():
        from featx.cache.store import FeatureStore
        from featx.recipes.engine import Engine
        from featx.recipes.rerun import experiment_of, on_this_machine
        from featx.runs.rerun import RESULT, compare_runs

    experiment = experiment_of(first, first.read(), runs)
    experiment, notes = on_this_machine(experiment)
    for line in notes:
        out.note(line)
    engine = Engine(home, ["featx", *sys.argv[1:]], out.note, anew=True)
    with ExitStack() as stack:
        if recompute:
            place = tempfile.TemporaryDirectory(prefix=".rerun-", dir=_folder(home))
            engine.store = FeatureStore(stack.enter_context(place))
        engine.check(experiment)
        out.kept = "the first run is as it was; `featx runs ls` lists what is unfinished, `featx runs rm` removes it"
        with out.progress() as progress:
            record = engine.run(experiment, experiment.seeds[0], progress)
    differences = compare_runs(first, runs.open(record["run"]))
    results = [one for one in differences if one.kind == RESULT]
    tell(out, results, [one for one in differences if one.kind != RESULT])
    if record.get("reused"):
        out.note(f"{record['reused']} rows of features were read from the store; --recompute computes them anew")
    out.say(f"run {record['run']} repeats run {first.id}")
    out.skipped(record["skipped"], beside=True)
    out.exit_code = UNEQUAL if results else out.exit_code
    out.result(
        {
            "run": record["run"],
            "of": first.id,
            "equal": not results,
            "accuracy": record["accuracy"],
            "reused": record.get("reused"),
            "differences": [asdict(one) for one in differences],
        }
    )


def tell(out: Output, results: Sequence[Difference], causes: Sequence[Difference]) -> None:
    """Say what came out otherwise, and what that may be due to."""
    if not results:
        out.say("equal, bit for bit: scores, tensors and predictions")
    for one in results:
        out.say(f"differs in {one}")
    for one in causes:
        out.say(f"{'equal in spite of ' if not results else ''}{WHAT[one.kind]}: {one}")
    if results and not causes:
        out.say("versions, files, rows, options and device are the same")


def _folder(home: Path) -> Path:
    """Return where a temporary store lies: on the disk that has room for features."""
    home.mkdir(parents=True, exist_ok=True)
    return home
