"""``featx report``: runs side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import options
from featx.cli.completion import complete_run
from featx.cli.output import Output, to_json
from featx.cli.report_confusion import show_confusion
from featx.cli.report_told import show_differences, show_leaks
from featx.cli.targets import PICTURE_NAMES, check_report, picture_kind
from featx.cli.text import counted
from featx.errors import OptionError, StoreError, first_few
from featx.reports.columns import BY_ROW
from featx.reports.formats import FORMATS, Whole, values
from featx.reports.rows import is_number, names_of, rows_of

if TYPE_CHECKING:
    from featx.core.run_folder import Run
    from featx.reports.check import Check

JSON = "json"
"""The one format that is not a table: the document that `--json` prints."""
TOLD = {"differences": "--differences", "leaks": "--leaks"}
"""Answers about rows, in place of the rows."""
ALONE = {"over_seeds": "--over-seeds", "curves": "--curves", "columns": "--columns", **TOLD}
"""What --confusion does not go with."""
SEEDS, IMAGES = "seeds", "images"


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    if value is None:
        return None
    names = [part.strip() for part in value.split(",")]
    if not all(names):
        raise click.BadParameter(f"{value!r}, expected names of columns separated by commas", ctx, param)
    return names


@click.command
@click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=complete_run)
@click.option("--format", "style", type=click.Choice([*FORMATS, JSON]), help="[default: text; json with --json]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the report to a file instead; with --confusion, plot a .png, .svg or .pdf.",
)
@click.option("--columns", metavar="A,B,C", callback=_names, help="Only these columns, such as 'layer,test accuracy'.")
@click.option("--over-seeds", is_flag=True, help="Show runs that differ only in their seed on one line, as means.")
@click.option("--confusion", is_flag=True, help="Show one run's confusion matrix and recall per class.")
@click.option(
    "--intervals",
    type=click.Choice([SEEDS, IMAGES]),
    default=SEEDS,
    show_default=True,
    help="What 95 % intervals are over: seeds, of rows that have several, or beside them the test images (bootstrap).",
)
@click.option(
    "--differences",
    "differences",
    type=click.Choice(BY_ROW),
    metavar="SCORE",
    help="Show which two rows differ by more than chance in this score: accuracy, loss, top5, balanced_accuracy, "
    "macro_f1 or brier.",
)
@click.option(
    "--leaks",
    metavar="FILE.csv",
    help="Show scores without the test images that leaked, by the findings of `featx audit -o FILE.csv`.",
)
@click.option(
    "--curves",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Plot the learning curves of all trainings: .png, .svg, .pdf.",
)
@options.common
def report(
    out: Output,
    home: Path,
    runs: tuple[str, ...],
    style: str | None,
    output: Path | None,
    columns: list[str] | None,
    over_seeds: bool,
    confusion: bool,
    intervals: str,
    differences: str | None,
    leaks: str | None,
    curves: Path | None,
) -> None:
    """Show runs side by side.

    RUN is a run's id, the beginning of one, or a run's folder; without any, all runs are shown, oldest first. With
    --over-seeds, runs that differ only in their seed, among everything their numbers depend on, are one row, and
    scores have half the width of their 95 % interval (Student's t, over the seeds). Below the table stands what is
    doubtful, each with what mends it; --columns leaves that out.

    --differences tests every two rows of the same test images, image by image and over seeds, with Holm's correction
    for all pairs of the table. --leaks shows each row's scores on all test images beside those on the images that have
    no relative outside the test set.

    With --format html the report is one file for a browser: an answer in words, figures, the most confident mistakes,
    every option and command. Runs that differ only in their seed are always one row there.

    \b
    Examples:
      featx report
      featx report --format md --output results.md
      featx report --format html -o report.html
      featx report --over-seeds --format latex --columns layer,test_accuracy
      featx report 20261121-190519 20261121-190525 --curves curves.pdf
      featx report --intervals images --format html -o report.html
      featx report --over-seeds --differences accuracy
      featx report --leaks findings.csv
      featx report 20261121-190519 --confusion -o confusion.png
    """
    from featx.core.outputs import write_output
    from featx.core.run_folder import jsonable

    style = style or (JSON if out.json else "text")
    for flag, file in (("--output", output), ("--curves", curves)):
        if file is not None:
            check_report(file, flag, f"report.{style if style != 'text' else 'txt'}")
    if confusion:
        _check_alone(runs, intervals)
        return show_confusion(out, wanted(out, home, runs)[0], style, output)
    if output is not None and picture_kind(output):
        raise OptionError(
            f"--output {output.name} is a picture, expected a report", "add --confusion, or use --curves instead"
        )
    found = wanted(out, home, runs)
    if curves is not None:
        _draw(out, found, curves)
    rows = _together(out, home, found) if over_seeds else rows_of(found)
    if differences is not None or leaks is not None:
        _check_told(columns, intervals)
        if differences is not None:
            return show_differences(out, rows, found, differences, style, output)
        return show_leaks(out, rows, found, str(leaks), style, output)
    images = intervals == IMAGES or any(name.replace("_", " ").endswith("over images") for name in columns or [])
    if images and not isinstance(FORMATS.get(style), Whole):
        rows = _with_images(out, rows, found)
    # Columns that are asked for are all that is shown.
    checks = _checked(rows, found) if columns is None else []
    document: Any = {"rows": values(rows, columns)} if columns is not None else {"rows": rows, "checks": checks}
    form = FORMATS.get(style)
    if isinstance(form, Whole):
        text = form.whole([*found, *([] if runs else _unfinished(home))], home, columns, images=images)
    else:
        text = form.runs(rows, columns, checks) if form else to_json(jsonable(document)) + "\n"
    if output is not None:
        write_output(output, text.encode("utf-8", "backslashreplace"))
        out.say(f"wrote {output}, {counted(len(rows), 'run', 'runs')}")
    elif not out.json:
        click.echo(text, nl=False)
    return out.result(document)


def _check_told(columns: list[str] | None, intervals: str) -> None:
    """Raise OptionError where an answer about rows is asked for with another, or with what says how runs are shown."""
    asked = [flag for name, flag in TOLD.items() if click.get_current_context().params.get(name)]
    given = [*["--columns"] * (columns is not None), *["--intervals images"] * (intervals == IMAGES), *asked[1:]]
    if given:
        raise OptionError(
            f"{asked[0]} shows a table of its own, with its intervals, and {', '.join(given)} was given",
            "leave one of them out",
        )


def _check_alone(runs: tuple[str, ...], intervals: str) -> None:
    """Raise OptionError where a confusion matrix is asked for with what does not belong to one run."""
    given = [flag for name, flag in ALONE.items() if click.get_current_context().params.get(name)]
    given += ["--intervals images"] if intervals == IMAGES else []
    if given:
        raise OptionError(f"--confusion is for one run, and {', '.join(given)} was given", "leave one of them out")
    if len(runs) != 1:
        raise OptionError(f"--confusion is for one run, and {len(runs)} were given", "`featx report` lists the runs")


def _together(out: Output, home: Path, runs: list[Run]) -> list[dict[str, Any]]:
    """Return a row for all runs that differ in their seed only, and say which count no more."""
    from featx.core.run_folder import Runs
    from featx.reports import over_seeds

    rows = over_seeds.over_seeds(rows_of(runs), rows_of(_readable(Runs(home).list())))
    older = [name for row in rows for name in row["left_out"]]
    if older:
        said = f"{counted(len(older), 'run', 'runs')} with the seed of a newer one: {first_few(older)}"
        out.note(f"left out {said}")
    return rows


def _with_images(out: Output, rows: list[dict[str, Any]], runs: list[Run]) -> list[dict[str, Any]]:
    """Return rows with their intervals over the test images, and say which have none."""
    from featx.reports.over_images import over_images

    rows, reasons = over_images(rows, {run.id: run for run in runs})
    for reason in reasons:
        out.note(f"no interval over images: {reason}")
    return rows


def _unfinished(home: Path) -> list[Run]:
    """Return the runs that have no record yet, or will never have one."""
    from featx.core.run_folder import Runs

    return [run for run in Runs(home).all() if not run.is_recorded]


def _checked(rows: list[dict[str, Any]], runs: list[Run]) -> list[Check]:
    from featx.reports.checks import checks_of  # numpy, scipy

    return checks_of(rows, runs)


def _readable(runs: Iterable[Run]) -> Iterator[Run]:
    for run in runs:
        with suppress(StoreError):
            run.read()
            yield run


def _draw(out: Output, runs: list[Run], file: Path) -> None:
    """Draw the trainings among the runs."""
    from featx.core.outputs import write_output
    from featx.reports.figures import overlaid_curves

    kind = picture_kind(file)
    if not kind:
        raise OptionError(f"--curves is {file.name}, expected a name ending in {PICTURE_NAMES}")
    trained = [(run, history) for run in runs if (history := _history(run))]
    if not trained:
        raise OptionError("none of these runs has a history to draw", "`featx train` makes one")
    names = names_of(rows_of(run for run, _ in trained))
    write_output(file, overlaid_curves([(name, h) for name, (_, h) in zip(names, trained, strict=True)], kind))
    out.note(f"wrote {file}, {counted(len(trained), 'training', 'trainings')}")


def _history(run: Run) -> list[dict[str, float]]:
    """Return a run's history; empty where it has none that can be drawn, since anyone may have written its record."""
    found: Any = run.read().get("history")
    lines = found if isinstance(found, list) else []
    return lines if all(isinstance(line, dict) and all(map(is_number, line.values())) for line in lines) else []


def wanted(out: Output, home: Path, names: tuple[str, ...]) -> list[Run]:
    """Return the named runs, or all that have a record; StoreError when there are none."""
    from featx.core.run_folder import Runs

    store = Runs(home)
    if names:
        return [store.open(name) for name in names]
    found = []
    for run in store.list():
        try:
            run.read()
        except StoreError as exc:
            out.note(f"left out {run.id}: {exc.message}")
        else:
            found.append(run)
    if not found:
        raise StoreError(f"no runs in {home}", "`featx fit digits --pixels` makes one")
    return found
