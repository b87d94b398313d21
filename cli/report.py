"""``featx report``: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import options
from featx.cli.output import Output, to_json
from featx.cli.text import counted
from featx.errors import OptionError, StoreError
from featx.reports import is_number

if TYPE_CHECKING:
    from featx.runs import Run

FORMATS = ("text", "md", "latex", "csv", "json")


@click.command
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("--format", "style", type=click.Choice(FORMATS), help="[default: text; json with --json]")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the report to a file instead.")
@click.option("--over-seeds", is_flag=True, help="Runs that differ in their seed only on one line, as means.")
@click.option(
    "--curves", type=click.Path(path_type=Path), metavar="FILE", help="Draw the trainings over each other: .png, .svg."
)
@options.common
def report(
    out: Output,
    home: Path,
    runs: tuple[str, ...],
    style: str | None,
    output: Path | None,
    over_seeds: bool,
    curves: Path | None,
) -> None:
    """Show runs side by side.

    RUN is a run's id, its beginning, or its folder; without any, all runs are shown, oldest first. With
    --over-seeds, scores come with half the width of their 95 % interval (Student's, over the seeds).

    \b
    Examples:
      featx report
      featx report --format md --output results.md
      featx report --over-seeds --format latex
      featx report 20261121-190519 20261121-190525 --curves curves.png
    """
    from featx import seeds
    from featx.outputs import write_output
    from featx.report_tables import to_csv, to_latex, to_markdown
    from featx.reports import rows_of, to_text

    style = style or ("json" if out.json else "text")
    found = wanted(out, home, runs)
    rows = rows_of(found)
    if curves is not None:
        _draw(out, found, curves)
    if over_seeds:
        rows = seeds.over_seeds(rows)
    document = {"rows": rows}
    write = {"text": to_text, "md": to_markdown, "latex": to_latex, "csv": to_csv}
    text = to_json(document) + "\n" if style == "json" else write[style](rows)
    if output is not None:
        write_output(output, text.encode("utf-8", "backslashreplace"))
        out.say(f"wrote {output}, {counted(len(rows), 'run', 'runs')}")
    elif not out.json:
        click.echo(text, nl=False)
    out.result(document)


def _draw(out: Output, runs: list[Run], file: Path) -> None:
    """Draw the trainings among the runs."""
    from featx.figures import METADATA, overlaid_curves
    from featx.outputs import write_output
    from featx.reports import names_of, rows_of

    kind = file.suffix.removeprefix(".").lower()
    if kind not in METADATA:
        raise OptionError(f"curves go to {file.name}, expected a name in .{' or .'.join(METADATA)}")
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
    from featx.runs import Runs

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
