"""``featx rerun``: a run repeated from its record, and whether it came out equal."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import options
from featx.cli.completion import complete_run
from featx.cli.failures import UNEQUAL
from featx.cli.importing import importing
from featx.cli.output import Output
from featx.errors import FeatxError

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

LONGEST = 300
"""Characters of a command that a hint repeats."""

NEAREST = "did you mean"
"""What the hint about a name begins with that stands in the record, and is not there."""

_OPTION = re.compile(r"`[^`]*`|(?<![\w-])(?P<option>--[A-Za-z][a-z-]*|-[a-z]\b)")
"""A command to be typed, or an option."""


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
        from featx.recipes.engine import Engine
        from featx.recipes.rerun import experiment_of, on_this_machine, passing_store
        from featx.runs.rerun import RESULT, compare_runs

    record = first.read()
    experiment = experiment_of(first, record, runs)
    experiment, notes = on_this_machine(experiment)
    for line in notes:
        out.note(line)
    engine = Engine(home, ["featx", *sys.argv[1:]], out.note, anew=True)
    with ExitStack() as stack:
        stack.enter_context(own_hints(record))
        if recompute:
            engine.store = stack.enter_context(passing_store(home))
        engine.check(experiment)
        out.kept = "the first run is as it was; `featx runs ls` lists what is unfinished, `featx runs rm` removes it"
        with out.progress() as progress:
            again = engine.run(experiment, experiment.seeds[0], progress)
    differences = compare_runs(first, runs.open(again["run"]))
    results = [one for one in differences if one.kind == RESULT]
    tell(out, results, [one for one in differences if one.kind != RESULT])
    if again.get("reused"):
        out.note(f"{again['reused']} rows of features were read from the store; --recompute computes them anew")
    out.say(f"run {again['run']} repeats run {first.id}")
    out.skipped(again["skipped"], beside=True)
    out.exit_code = UNEQUAL if results else out.exit_code
    out.result(
        {
            "run": again["run"],
            "of": first.id,
            "equal": not results,
            "accuracy": again["accuracy"],
            "reused": again.get("reused"),
            "differences": [asdict(one) for one in differences],
        }
    )


@contextmanager
def own_hints(record: Mapping[str, Any]) -> Iterator[None]:
    """Say of hints that name options whose they are: a run is repeated as it was, and takes none of them."""
    try:
        yield
    except FeatxError as exc:
        ours = {option for param in click.get_current_context().command.params for option in param.opts}
        named = {found["option"] for found in _OPTION.finditer(exc.hint)} - {None}
        if named - ours or exc.hint.startswith(NEAREST):
            exc.hint = f"in {_command(record)}: {exc.hint}"
        raise


def _command(record: Mapping[str, Any]) -> str:
    """Return the command that a run was made by, where it takes options and is short enough to be read."""
    words = record.get("command")
    said = list(map(str, words)) if isinstance(words, list) else []
    if said[:2] == ["featx", "rerun"]:
        return "the first run's own command"
    text = shlex.join(said)
    return "the run's own command" + (f", `{text}`" if 0 < len(text) <= LONGEST else "")


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
