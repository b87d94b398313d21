"""``featx run``: a recipe's table, run row by row, resumed, and reported."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import cluster_options, options
from featx.cli.completion import complete_recipe
from featx.cli.importing import importing
from featx.cli.output import Output
from featx.cli.targets import check_report, is_device
from featx.cli.text import counted, human_seconds
from featx.core.executors.executor import Executor, crowd_of, of_clocks
from featx.core.executors.registry import executing
from featx.errors import FeatxError, OptionError, StoreError

if TYPE_CHECKING:
    from featx.recipes.engine import Engine
    from featx.recipes.expand import Recipe
    from featx.recipes.experiment import Experiment

FAILED = 1
"""Exit code where a row failed and the others were run."""


@click.command
@click.argument("recipe", required=False, shell_complete=complete_recipe)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help=(
        "Change an option of every row; fit.KEY and train.KEY of one kind, row.NAME.KEY of one row. Can be repeated."
    ),
)
@click.option("--plan", is_flag=True, help="Show what is done, what would be run and how long, and stop.")
@click.option("--list", "listing", is_flag=True, help="List the recipes that come with featx.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The report, an HTML file.  [default: reports/RECIPE.html in featx's home]",
)
@cluster_options.cluster
@options.common
def run(
    out: Output,
    home: Path,
    recipe: str | None,
    changes: tuple[str, ...],
    plan: bool,
    listing: bool,
    output: Path | None,
    cluster: str | None,
) -> None:
    """Run a recipe: a table of fits and trainings.

    RECIPE is the name of one that comes with featx, or a .toml file. What is finished already is not run again, and
    what was interrupted goes on. Each run is an ordinary one, which `featx report` shows. The workers of a cluster
    take a row with one seed each, once what it stands on is done; they see the images and --home under the same names.

    \b
    Examples:
      featx run --list
      featx run layer-map --set source=photos/ --plan
      featx run s2 --set source=cifar10.zip --set per_class=500
      featx run compare --set source=photos/ --set 'row.fine-tuned.epochs=30'
      featx run layer-map --set source=photos/ --cluster tcp://host:8786
    """
    if listing:
        _list(out, recipe)
        return
    where = cluster_options.executor_name(cluster)
    if recipe is None:
        raise OptionError("no recipe was given, expected a name or a .toml file", "`featx run --list` shows some")
    if output is not None:
        _check_output(output)
    from featx.recipes.builtin_recipes import load_recipe
    from featx.recipes.engine import Engine
    from featx.reports.columns import chosen

    table = load_recipe(recipe, changes)
    chosen(table.columns, [])  # which raises for one that is none
    engine = Engine(home, ["featx", *sys.argv[1:]], out.note, table.experiments)
    for experiment in table.experiments:
        engine.check(experiment)
    with executing(where) as executor:
        if plan:
            _plan(out, engine, table, executor)
        else:
            _run(out, home, engine, table, output, executor)


def _check_output(output: Path) -> None:
    """Refuse a file that is no report, such as the recipe itself: it would be replaced."""
    check_report(output, "--output", "report.html")
    if output.suffix.lower() not in (".html", ".htm") and not is_device(output):
        raise OptionError(f"--output is {output.name}, expected a name ending in .html", "give another name")


def _list(out: Output, recipe: str | None) -> None:
    from featx.recipes.builtin_recipes import built_in

    if recipe is not None:
        raise OptionError(f"--list shows all recipes, and {recipe!r:.80} was given", "leave one or the other out")
    found = built_in()
    out.table(("!recipe", "what it compares"), list(found.items()))
    out.result({"recipes": [{"name": name, "title": title} for name, title in found.items()]})


def _plan(out: Output, engine: Engine, table: Recipe, executor: Executor) -> None:
    from featx.cli.run_table import PLAN, plan_document, plan_lines
    from featx.recipes.plan import plan, seconds_left

    planned = plan(engine, table.experiments)
    out.table(PLAN, plan_lines(planned))
    done, left = sum(one.is_done for one in planned), seconds_left(planned)
    time = "it is unknown how long they take" if left is None else f"about {human_seconds(left)}"
    crowd = None if executor.in_process else crowd_of(executor)
    to_run = len(planned) - done
    out.say(f"{done} of {counted(len(planned), 'run', 'runs')} done" + (f", {to_run} to run: {time}" if to_run else ""))
    if crowd is not None:
        out.say(f"rows are shared out among {crowd}{of_clocks(crowd)}")
    out.result({"recipe": table.name, "plan": plan_document(planned), "seconds": left, "executor": crowd})


@dataclass
class _Ran:
    """What came of a recipe's rows: records by name and seed, what failed, and which workers ran them, if any did."""

    records: dict[str, dict[int, Mapping[str, Any]]] = field(default_factory=dict)
    failed: list[dict[str, Any]] = field(default_factory=list)
    crowd: str | None = None

    def fail(self, out: Output, experiment: Experiment, seed: int, error: FeatxError) -> None:
        """Note a row that failed, and say so."""
        self.failed.append({"how": experiment.name, "seed": seed, "error": error.message, "hint": error.hint})
        out.say(f"{experiment.name}, seed {seed}: FAILED, {error}")
        out.exit_code = FAILED


def _run(out: Output, home: Path, engine: Engine, table: Recipe, output: Path | None, executor: Executor) -> None:
    from featx.core.atomic import make_folder

    file = output or home / "reports" / f"{table.name}.html"
    if output is None:
        make_folder(file.parent)  # an unwritable home is found before the work
    ran = _rows(out, engine, table) if executor.in_process else _rows_on(executor, out, engine, table)
    if not ran.records:
        first = ran.failed[0]
        raise FeatxError(f"every row failed; the first, {first['how']}: {first['error']}", first["hint"])
    _conclude(out, home, engine, table, ran, file)


def _rows(out: Output, engine: Engine, table: Recipe) -> _Ran:
    """Run every row with every seed; one that fails leaves the others to run."""
    from featx.cli.run_table import finished_line
    from featx.recipes.engine import DONE

    ran = _Ran()
    todo = [(experiment, seed) for experiment in table.experiments for seed in experiment.seeds]
    for number, (experiment, seed) in enumerate(todo, 1):
        out.kept = f"{counted(number - 1, 'finished run is', 'finished runs are')} kept; the same command goes on"
        try:
            found = engine.state(experiment, seed).status == DONE
            if not found:
                out.note(f"{number} of {len(todo)}: {experiment.name}, seed {seed}")
                _load()
            with out.progress() as progress:
                record = engine.run(experiment, seed, progress)
        except StoreError:
            raise
        except FeatxError as exc:
            ran.fail(out, experiment, seed, exc)
        else:
            ran.records.setdefault(experiment.name, {})[seed] = record
            out.say(finished_line(experiment.name, seed, record, found=found))
    return ran


def _rows_on(executor: Executor, out: Output, engine: Engine, table: Recipe) -> _Ran:
    """Run every row with every seed on workers; they are told as they end, and kept in the table's order."""
    _load()
    from featx.cli.run_table import finished_line
    from featx.recipes.row_spread import run_rows

    order = [(experiment.name, seed) for experiment in table.experiments for seed in experiment.seeds]
    records: dict[tuple[str, int], Mapping[str, Any]] = {}
    ran = _Ran()
    out.kept = "finished runs are kept; the same command goes on"
    with closing(run_rows(engine, table.experiments, executor)) as coming:
        for one in coming:
            if one.error is not None:
                ran.fail(out, one.experiment, one.seed, one.error)
            elif one.record is not None:
                ran.crowd = ran.crowd if one.found else crowd_of(executor)
                records[one.experiment.name, one.seed] = one.record
                out.say(finished_line(one.experiment.name, one.seed, one.record, found=one.found))
    for name, seed in order:
        if (name, seed) in records:
            ran.records.setdefault(name, {})[seed] = records[name, seed]
    ran.failed.sort(key=lambda told: order.index((told["how"], told["seed"])))
    cluster_options.tell_lost(out, executor.lost)
    return ran


def _load() -> None:
    with importing():  # not before there is something to run
        import featx.probes.probe
        import featx.runs.record  # noqa: F401


def _conclude(out: Output, home: Path, engine: Engine, table: Recipe, ran: _Ran, file: Path) -> None:
    """Show the table and the answer, and write the report and the pictures."""
    from featx.cli.run_table import more_tables, result_columns, result_lines
    from featx.core.outputs import write_output
    from featx.recipes.pictures import pictures
    from featx.recipes.result import result_of
    from featx.reports.checks import check_lines
    from featx.reports.html.page import page
    from featx.reports.rows import wrapped

    result = result_of(table.experiments, ran.records, engine.runs, own_seeds=True)
    runs = {row["how"]: [engine.runs.open(name) for name in row["runs"]] for row in result.rows}
    out.say()
    out.table(result_columns(result.rows), result_lines(result.rows))
    for heads, lines in more_tables(table.columns, runs):
        out.say()
        out.table(heads, lines)
    out.say()
    for line in (*check_lines(result.checks), *(part for said in result.answer for part in wrapped(said))):
        out.say(line)
    for one in ran.failed:
        out.say(f"{one['how']}, seed {one['seed']} is not in the table: {one['error']}")
    if ran.crowd is not None:
        out.say(f"rows ran on {ran.crowd}{of_clocks(ran.crowd)}")
    text = page(result.runs, home=home, title=table.title, names=result.names)
    write_output(file, text.encode("utf-8", "backslashreplace"))
    out.say(f"report {file}")
    by_name = {name: list(found.values()) for name, found in ran.records.items()}
    drawn = []
    for end, data in pictures(table.draw, table.title, by_name):
        picture = file.with_name(f"{file.stem}-{end}")
        write_output(picture, data)
        drawn.append(str(picture))
        out.say(f"picture {picture}")
    code = out.exit_code
    out.skipped(result.skipped)
    out.exit_code = code or out.exit_code
    out.result(
        {
            "recipe": table.name,
            "rows": result.rows,
            "answer": result.answer,
            "checks": result.checks,
            "report": str(file),
            "pictures": drawn,
            "failed": ran.failed,
            "executor": ran.crowd,
            "skipped": result.skipped,
        }
    )
