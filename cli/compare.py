"""``featx compare``: pixels, frozen features, fine-tuning and training from scratch on the same images."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import compare_options, options, train_options
from featx.cli.headings import NETWORK, OUTPUT, SEEDS, Headed, under
from featx.cli.importing import importing
from featx.cli.opening import check_backbone, opening_source
from featx.cli.output import Output
from featx.cli.targets import check_report
from featx.cli.text import human_seconds
from featx.core.concatenation import Feature
from featx.core.specs import BackboneConfig, ExtractConfig
from featx.core.urls import safe_url
from featx.data.split_options import SplitOptions
from featx.errors import OptionError

if TYPE_CHECKING:
    from featx.recipes.asked import Asked
    from featx.recipes.compare import Rows
    from featx.recipes.comparison import Comparison
    from featx.recipes.engine import Engine
    from featx.recipes.network_choice import Look


@click.command(cls=Headed)
@click.argument("source")
@under(NETWORK, options.backbone(required=False), options.layers(required=False, joined=True))
@compare_options.which
@compare_options.how_long
@under(SEEDS, compare_options.seeds, options.seed)
@options.split_options
@train_options.network
@compare_options.machine
@under(
    OUTPUT,
    click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The report, an HTML file.  [default: reports/compare-SOURCE.html in featx's home]",
    ),
)
@options.common
def compare(
    out: Output,
    home: Path,
    source: str,
    backbone: str | None,
    layers: tuple[Feature, ...],
    only: tuple[str, ...],
    without: tuple[str, ...],
    minutes: float,
    plan: bool,
    epochs: int | None,
    batch_size: int,
    seeds: int | tuple[int, ...],
    seed: int,
    split_options: SplitOptions,
    network: BackboneConfig,
    extraction: ExtractConfig,
    output: Path | None,
) -> None:
    """Compare pixels, frozen features, fine-tuning and training from scratch.

    Softmax regression on raw pixels, on the network's default layer and two earlier ones; a head on a frozen base, with
    augmented images; the last block fine-tuned, all of it, and the network from scratch: on the same images, validation
    rows and seeds. A short trial says how long each takes, and what does not fit into --minutes is left out. Killed and
    started again, it goes on; started after its end, it shows the answer.

    \b
    Examples:
      featx compare photos/
      featx compare digits --minutes 5
      featx compare photos/ -b timm:resnet18 --weights mine.safetensors --size 96
      featx compare photos/ -l layer2:avg -l layer3:avg --without scratch
      featx compare photos/ --only softmax,finetune --plan
    """
    if output is not None:
        check_report(output, "--output", "compare.html")
    if backbone == "pixels":
        raise OptionError("-b pixels is no network to compare with", "leave -b out, or give a network's name")
    split_options.check_choices(("the comparison",))
    from featx.recipes.asked import Asked

    asked = Asked(
        source=source,
        layers=layers,
        only=only,
        without=without,
        seeds=tuple(range(seed, seed + seeds)) if isinstance(seeds, int) else seeds,
        epochs=epochs,
        batch_size=batch_size,
        rows=split_options,
        extraction=extraction,
    )
    if backbone is not None:
        check_backbone(backbone, network, home, layers)
    out.kept = "finished runs are kept, and the last checkpoint of a training: the same command goes on"
    engine, rows, look = _open(out, home, asked, backbone, network)
    from featx.cli.compare_table import planned, shown
    from featx.recipes.comparison import Comparison
    from featx.recipes.network_choice import threads_for

    with threads_for(look), shown(out, rows) as watch:
        comparison = Comparison(engine, rows.by_priority, 60 * minutes, watch)
        known = comparison.plan()
        _tell_plan(out, comparison, rows, minutes, only_plan=plan, known=known)
        if not plan:
            watch.start(comparison)
            comparison.run()
    if plan:
        out.result({"plan": planned(comparison, rows), "left_out": _left_out(comparison, rows, minutes)})
        return
    _conclude(out, home, asked, comparison, rows, minutes, output)


def _open(
    out: Output, home: Path, asked: Asked, backbone: str | None, how: BackboneConfig
) -> tuple[Engine, Rows, Look]:
    """Open the images and the network, and choose the rows."""
    with importing():
        from featx.recipes.compare import check_classes, rows_of, too_few_steps, without_validation
        from featx.recipes.engine import Engine
        from featx.recipes.network_choice import choose, read

    engine = Engine(home, ["featx", *sys.argv[1:]], out.note)
    with opening_source(out) as progress:
        parts = engine.opened.rows(asked.source, asked.rows, asked.seeds[0], asked.extraction.on_error, progress)
    check_classes(parts)
    network = choose(backbone, how, parts.train.source, engine.opened.memo)
    for line in (*network.notes, without_validation(parts), too_few_steps(asked, parts)):
        if line:
            out.note(line)
    look = read(network.backbone, asked.layers)
    rows = rows_of(asked, network, look, parts)
    for line in rows.left_out:
        out.note(line)
    return engine, rows, look


def _left_out(comparison: Comparison, rows: Rows, minutes: float) -> list[str]:
    """Say which rows are not run, and why."""
    return [*rows.left_out, *_too_long(comparison, minutes)]


def _too_long(comparison: Comparison, minutes: float) -> list[str]:
    budget = comparison.budget
    said = [
        f"{name} left out: about {human_seconds(seconds)} of the {minutes:g} min (--minutes)"
        for name, seconds in budget.left_out.items()
    ]
    fewer = len(comparison.asked) - len(budget.seeds)
    if fewer > 0:
        said.append(f"{len(budget.seeds)} of {len(comparison.asked)} seeds, as {minutes:g} min allow (--minutes)")
    return said


def _tell_plan(
    out: Output, comparison: Comparison, rows: Rows, minutes: float, *, only_plan: bool, known: bool
) -> None:
    from featx.cli.compare_table import PLAN, plan_lines

    if not comparison.budget.epochs:
        quickest = min(comparison.budget.left_out.values())
        spent = f", of which {human_seconds(comparison.spent)} are spent" if known else ""
        raise OptionError(
            f"no row fits into {minutes:g} minutes{spent}, the quickest takes about {human_seconds(quickest)}",
            "give more --minutes",
        )
    if comparison.is_over and not only_plan:
        return  # the answer is all that is left to say
    if known and not only_plan:
        out.note("going on with the plan of an earlier start")
    out.table(PLAN, plan_lines(comparison, rows))
    seconds = comparison.budget.seconds
    out.say(f"about {human_seconds(seconds)} in all, of the {minutes:g} min that there are (--minutes)")
    for line in _too_long(comparison, minutes):
        out.say(line)


def _conclude(
    out: Output,
    home: Path,
    asked: Asked,
    comparison: Comparison,
    rows: Rows,
    minutes: float,
    output: Path | None,
) -> None:
    """Show the table and the answer, and write the report."""
    from featx.cli.compare_table import RESULT, result_lines
    from featx.core.outputs import write_output
    from featx.recipes.result import result_of, uncounted
    from featx.reports.checks import check_lines
    from featx.reports.html.page import page

    result = result_of([row.experiment for row in rows.rows], comparison.records, comparison.engine.runs)
    out.table(RESULT, result_lines(result.rows))
    left_out = [*_left_out(comparison, rows, minutes), *uncounted(comparison.records)]
    for line in left_out:
        out.say(line)
    for line in check_lines(result.checks):
        out.say(line)
    for line in result.answer:
        out.say(line)
    file = output or _default_report(home, safe_url(asked.source))
    shown = safe_url(asked.source)
    title = f"{Path(shown).name or shown}: which way to learn is best"
    text = page(result.runs, home=home, title=title, names=result.names)
    write_output(file, text.encode("utf-8", "backslashreplace"))
    out.say(f"report {file}")
    out.skipped(result.skipped)
    document: Mapping[str, Any] = {
        "rows": result.rows,
        "answer": result.answer,
        "report": str(file),
        "left_out": left_out,
        "checks": result.checks,
        "skipped": result.skipped,
    }
    out.result(document)


def _default_report(home: Path, source: str) -> Path:
    from featx.core.atomic import make_folder

    folder = home / "reports"
    make_folder(folder)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source).stem).strip("-.") or "source"
    return folder / f"compare-{name[:60]}.html"
