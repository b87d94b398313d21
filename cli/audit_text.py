"""What ``featx audit`` prints for people: one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featx.audit.findings import LEAK_KINDS
from featx.cli.text import counted

if TYPE_CHECKING:
    from featx.audit.audit import Audit
    from featx.cli.output import Output

SHOWN = 10
"""Findings of a kind that are shown; all are in the CSV, the page and the JSON."""


def tell(out: Output, found: Audit) -> None:
    """Print the findings, the surest of each kind first."""
    splits = ", ".join(f"{split} {rows:,}" for split, rows in found.rows.items())
    out.say(f"{counted(sum(found.rows.values()), 'image', 'images')} ({splits}), by {', '.join(found.layers)}")
    _leaks(out, found)
    _labels(out, found)
    _odd(out, found)
    _classes(out, found)
    for line in found.notes:
        out.note(f"note: {line}")
    out.say(", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in found.seconds.items()))


def _more(out: Output, count: int) -> None:
    if count > SHOWN:
        out.say(f"and {count - SHOWN:,} more (-o findings.csv, or --json)")


def _leaks(out: Output, found: Audit) -> None:
    pairs = found.leaks.pairs
    if not pairs:
        out.say("no image is there twice")
    else:
        kinds = {kind: sum(leak.kind == kind for leak in pairs) for kind in LEAK_KINDS}
        across = sum(leak.crosses for leak in pairs)
        said = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
        out.say(f"{counted(len(pairs), 'pair', 'pairs')} of the same image or shot ({said}), {across:,} across splits:")
        shown = sorted(pairs, key=lambda leak: not leak.crosses)[:SHOWN]  # those that change a score first
        out.table(
            ("kind", ">score", "split", "image", "split", "image", "remedy"),
            [
                (leak.kind, f"{leak.score:.3f}", leak.split_a, leak.a, leak.split_b, leak.b, leak.finding().remedy)
                for leak in shown
            ],
        )
        _more(out, len(pairs))
    if found.leaks.left_out:
        out.note(
            f"warning: the pixels of {found.leaks.left_out:,} pairs were not compared (--most), all of them less "
            f"similar than {found.leaks.closest:.3f} by their features"
        )
    scores = found.scores
    if scores:
        out.table(
            ("test images", ">rows", ">accuracy"),
            [
                ("all", scores.rows, f"{scores.accuracy:.4f}"),
                ("without leaked ones", scores.rows - scores.leaked, f"{scores.without:.4f}"),
            ],
        )
        out.say(scores.said())


def _labels(out: Output, found: Audit) -> None:
    labels = found.labels
    if labels is None:
        return
    issues = labels.issues
    if not issues:
        out.say(f"none of {labels.judged:,} labels is less likely than another")
        return
    out.say(
        f"{counted(len(issues), 'label', 'labels')} of {labels.judged:,} less likely than another, about "
        f"{labels.estimated:,.0f} wrong by confident learning (at most, where classes are hard to tell apart):"
    )
    out.table(
        ("split", "image", "given", "looks like", ">confidence", ">layers"),
        [
            (issue.split, issue.id, issue.given, issue.suggested, f"{issue.confidence:.1e}", issue.agreeing)
            for issue in issues[:SHOWN]
        ],
    )
    _more(out, len(issues))


def _odd(out: Output, found: Audit) -> None:
    if found.outliers:
        out.say(f"{counted(len(found.outliers), 'image', 'images')} far from all others (does each belong?):")
        out.table(
            ("split", "image", ">distance", ">usual"),
            [(one.split, one.id, f"{one.distance:.3f}", f"{one.usual:.3f}") for one in found.outliers[:SHOWN]],
        )
        _more(out, len(found.outliers))
    if found.odd:
        out.say(f"{counted(len(found.odd), 'image looks', 'images look')} odd (does each belong?):")
        out.table(
            ("kind", "split", "image", "value", "usual"),
            [(one.kind, one.split, one.id, one.value, one.usual) for one in found.odd[:SHOWN]],
        )
        _more(out, len(found.odd))


def _classes(out: Output, found: Audit) -> None:
    remarks = [(one.name, remark) for one in found.classes.classes for remark in one.remarks]
    if remarks:
        out.say(f"{counted(len(remarks), 'class', 'classes')} too small (add images, or leave the class out):")
        out.table(("class", "what"), remarks[:SHOWN])
        _more(out, len(remarks))
    for split, ratio in found.classes.imbalance.items():
        if ratio > 1:
            out.say(f"largest class of {split} has {ratio:.1f} times the images of its smallest")
    for name, columns in found.columns.items():
        if columns.dead or columns.constant:
            out.say(
                f"{name}: {len(columns.dead)} of {columns.columns} columns are zero in every image, "
                f"{len(columns.constant)} constant"
            )
