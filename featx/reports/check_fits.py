"""Checks of how a table's fits and trainings went: see `featx.reports.checks`."""

from __future__ import annotations

from collections.abc import Mapping

from featx.reports.check_table import Found, Record, Table, number

FAR_ABOVE = 0.15
"""So much better on the training rows than on those that validate is far above."""


def at_edge(table: Table) -> Found:
    """Tell of the sweeps whose best C has no other on one side."""
    return Found(
        "C was chosen at the edge of its grid, and a better one may lie beyond",
        "Fit with a --C beyond it, or sweep a wider grid: --sweep clip tries 1e-6 to 1e6",
        table.each(_at_edge),
    )


def _at_edge(record: Record) -> str | None:
    search = record.get("search")
    if not isinstance(search, Mapping) or search.get("over") != "C":
        return None
    choice, chosen = record.get("choice"), number(search.get("chosen"))
    values = choice.get("Cs") if isinstance(choice, Mapping) else search.get("values")  # a halving dropped some before
    tried = [v for value in values if (v := number(value)) is not None] if isinstance(values, list) else []
    if chosen is None or len(tried) < 2 or min(tried) < chosen < max(tried):
        return None
    return f"C={chosen:g} of {min(tried):g} to {max(tried):g}"


def no_proof(table: Table) -> Found:
    """Tell of the fits that did not converge, or have no bound on how far they are from the optimum."""
    return Found(
        "nothing proves that the fit reached its optimum",
        "Fit with more steps, --max-iter, or on like columns, --standardize",
        table.each(_unproven),
    )


def _unproven(record: Record) -> str | None:
    if record.get("kind") != "fit" or not isinstance(record.get("converged"), bool):
        return None  # a head without steps
    if not record["converged"]:
        return "not converged"
    return "no bound" if number(record.get("objective_gap")) is None else None


def overfits(table: Table) -> Found:
    """Tell of the rows that learnt their training images by heart."""
    found: dict[int, str] = {}
    for i in range(len(table.rows)):
        learnt, held = table.score(i, "train"), table.score(i, "val")
        if learnt is not None and held is not None and learnt - table.interval(i, "val")[1] > FAR_ABOVE:
            found[i] = f"{learnt:.4f} against {held:.4f}"
    return Found(
        "far better on the rows it learnt from than on those that validate",
        "Of a fit, take a smaller --C, or --sweep dinov2; of a training, --augment, --weight-decay, or a frozen base",
        found,
    )


def still_improving(table: Table) -> Found:
    """Tell of the trainings whose last epoch was the best, where validation rows say so; of one seed it is chance."""
    found = table.each(_best_is_last)
    improving = {i: sum(_best_is_last(record) is not None for record in table.records[i]) for i in found}
    return Found(
        "the last epoch was the best by validation, and more may be better",
        "Train with more --epochs",
        {i: said for i, said in found.items() if 2 * improving[i] >= len(table.records[i])},
    )


def _best_is_last(record: Record) -> str | None:
    history, best = record.get("history"), number(record.get("best_epoch"))
    last = history[-1] if isinstance(history, list) and history else None
    if not isinstance(last, Mapping) or number(last.get("val_accuracy")) is None:
        return None
    return f"epoch {best:g}" if best is not None and best == number(last.get("epoch")) else None
