"""Checks of what a table's scores are of, and whether they say what they seem to: see `featx.reports.checks`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.core.backbone_names import PIXELS
from featx.reports.among import Among
from featx.reports.check import MARK
from featx.reports.check_table import Found, Record, Row, Table, number, test_counts
from featx.reports.differences import accuracy_of, difference
from featx.reports.over_seeds import over_seeds
from featx.reports.rows import line_text

FEW_IMAGES = 10
"""A class with fewer test images tells little: one image more or less right is a tenth of its recall."""

TINY = 1e-9
"""Of two ways to calculate the same share."""


def not_comparable(table: Table) -> Found | None:
    """Tell of the rows that were scored on other test images than most."""
    if len(table.groups) < 2:
        return None
    most = max(table.groups, key=len)
    others = {i: "" for group in table.groups if group is not most for i in group}
    return Found(
        f"scored on other test images than {len(most)} of the rows, marked {MARK}, and not ranked with them",
        "Compare rows of the same source, --test-split, --limit, --per-class and seeds, which --over-seeds joins",
        others,
    )


def other_sizes(table: Table) -> Found | None:
    """Note that rows that are compared saw images of different sizes, raw pixels apart."""
    found: dict[int, str] = {}
    for group in table.groups:
        sizes = {i: line_text(size) for i in group if (size := _size(table.rows[i])) is not None}
        if len(set(sizes.values())) > 1:
            found |= {i: f"{size} px" for i, size in sizes.items()}
    return Found(
        "networks that saw images of other sizes", "Give all the same --size, unless size is what is compared", found
    )


def _size(row: Row) -> Any:
    return None if row.get("backbone") == PIXELS else row.get("size")


def leaked_rows(table: Table) -> Found:
    """Tell of test images that were learnt from."""
    return Found(
        "test images that are also among those learnt from, which makes the score too good",
        "Remove them from either split, or name others with --train-split and --test-split",
        table.each(_shared_images),
    )


def _shared_images(record: Record) -> str | None:
    shared = number(record.get("shared_with_test"))
    return f"{shared:,.0f}" if shared is not None and shared > 0 else None


def excluded_rows(table: Table) -> Found:
    """Tell of the rows whose runs left images out: their scores are of other images than the source's."""
    return Found(
        "without images that --exclude left out, which the source has",
        "Compare them with runs that left out the same; excluded.csv in the run's folder lists them",
        table.each(_excluded_images),
    )


def _excluded_images(record: Record) -> str | None:
    counts = record.get("excluded_rows")
    if not isinstance(counts, dict):
        return None
    said = [f"{count:,} of {line_text(split)}" for split, count in counts.items() if number(count)]
    return ", ".join(said) or None


def below_pixels(table: Table) -> Found:
    """Tell of the rows that are worse than raw pixels of the same test images."""
    found: dict[int, str] = {}
    for group in table.groups:
        ranked = table.ranked(group)
        pixels = [i for i in ranked if table.rows[i].get("backbone") == PIXELS]
        best = table.score(pixels[0]) if pixels else None
        if best is not None:
            worse = [i for i in ranked if i not in pixels and _clearly_less(table, i, pixels[0])]
            found |= {i: f"{table.score(i):.4f} against {best:.4f}" for i in worse}
    return Found(
        "worse on the test images than the best fit on raw pixels",
        "Check --weights, --size and --resize, or take another layer: `featx layers BACKBONE` lists them",
        found,
    )


def _clearly_less(table: Table, i: int, best: int) -> bool:
    """Tell whether a row's score is below another's by more than the chance of their test images (Newcombe)."""
    low, high = table.score(i) or 0.0, table.score(best) or 0.0
    return high - low > math.hypot(high - table.interval(best)[0], table.interval(i)[1] - low)


def below_majority(table: Table) -> Found:
    """Tell of the rows that are no better than naming one class always, as those that do."""
    found: dict[int, str] = {}
    for i, records in enumerate(table.records):
        shares = [max(counts) / sum(counts) for record in records if sum(counts := test_counts(record))]
        accuracy = table.score(i)
        if shares and accuracy is not None and accuracy <= float(np.mean(shares)) + TINY:
            found[i] = f"{accuracy:.4f} against {np.mean(shares):.4f}"
    return Found(
        "no better on the test images than always naming their most frequent class",
        "See what is taken for what, `featx report RUN --confusion`, and train longer or with a smaller --lr",
        found,
    )


def interval_too_wide(table: Table) -> Found:
    """Tell of the best two rows, of each set of test images, where no difference between them is proven.

    Neither by the interval of that difference alone, nor among all pairs of the table: the best of many rows were
    chosen by the same images.
    """
    found: dict[int, str] = {}
    ranked = [_ranked(table, group) for group in table.groups]
    among = table.among or Among.of([row for rows in ranked for row, _ in rows], table.runs)
    for best in (rows[:2] for rows in ranked if len(rows) > 1):
        (one, places), (two, others) = best
        apart = among.told(difference(one, two, table.runs), one, two)
        if apart.interval is not None and not apart.is_clear:
            low, high = apart.interval
            said = f"{apart.value:+.4f}, {low:+.4f} to {high:+.4f}, {apart.how}"
            found |= dict.fromkeys([*places, *others], said)
    return Found(
        "the best two differ by no more than chance may: their difference's 95 % interval, or its p-value among all "
        "pairs, does not exclude 0",
        "Take more seeds, --seeds 0,1,2,3,4, or more test images",
        found,
    )


def _ranked(table: Table, group: Sequence[int]) -> list[tuple[Row, list[int]]]:
    """Return the rows of a group with their positions, best first; runs that differ in their seed only are one."""
    ranked = table.ranked(group)
    at = {str(table.rows[i].get("run")): i for i in ranked}
    if any("runs" in table.rows[i] for i in ranked) or len(at) < len(ranked):
        return [(table.rows[i], [i]) for i in ranked]
    together = over_seeds([table.rows[i] for i in ranked])
    together.sort(key=lambda row: -(accuracy_of(row) or 0.0))
    return [(row, [at[name] for name in row["runs"]]) for row in together]


def few_test_images(table: Table) -> Found:
    """Tell of classes with few test images, or none."""
    return Found(
        f"classes with fewer than {FEW_IMAGES} test images, whose recall is largely chance",
        "Test on more images: a larger --limit or --per-class, or another --test-split",
        table.each(_thin_classes),
    )


def _thin_classes(record: Record) -> str | None:
    counts = test_counts(record)
    thin = [i for i, n in enumerate(counts) if n < FEW_IMAGES]
    if not thin:
        return None
    fewest = min(thin, key=counts.__getitem__)
    classes = record.get("classes")
    named = line_text(classes[fewest]) if isinstance(classes, list) and len(classes) == len(counts) else f"#{fewest}"
    return f"{len(thin)} of {len(counts)} classes, of class {named:.40} there are {counts[fewest]}"
