"""What the most accurate runs take for what: the matrix as a coloured table, and how much of each class is found."""

from __future__ import annotations

from collections.abc import Sequence

from featx.errors import OptionError
from featx.reports.confusion import Confusion, confusion_of, said_of
from featx.reports.html.content import Content
from featx.reports.html.markup import Safe, esc, joined, name
from featx.reports.html.tables import table

LARGEST = 20
"""Most classes of a matrix that is shown whole; of more, the worst classes and the commonest mistakes are."""

WORST = 20


def confusions(content: Content) -> Safe:
    """Return them for the most accurate row of each set of test images."""
    parts = []
    for place, run in content.best():
        try:
            found = confusion_of(run)
        except OptionError:
            continue
        seeds = len(content.rows[place]["runs"])
        of = f", the first of {seeds} seeds" if seeds > 1 else ""
        parts.append(f"<h3>{name(content.label(place), 120)}{of}</h3>{confusion_html(found)}")
    return joined(parts)


def confusion_html(found: Confusion) -> Safe:
    """Return a matrix of at most `LARGEST` classes whole; of more, what is worst."""
    said = f'<p class="note">{esc(said_of(found), 500)}</p>'
    if len(found.classes) <= LARGEST:
        return Safe(f"{said}{_matrix(found)}{_by_class(found, range(len(found.classes)), 'Each class')}")
    recall = found.recall
    order = sorted(range(len(recall)), key=lambda i: (2.0 if (share := recall[i]) is None else share, i))
    worst = _by_class(found, order[:WORST], f"The {WORST} classes of {len(found.classes):,} that are found least")
    return Safe(f"{said}{worst}{_mistakes(found)}")


def _matrix(found: Confusion) -> Safe:
    """Return the matrix; a cell is as dark as its share of the true class."""
    rows, k, numbered = found.rows, len(found.classes), max(map(len, found.classes), default=0) > 6
    heads = [str(i) if numbered else esc(label) for i, label in enumerate(found.classes)]
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "".join(
        f'<tr><th scope="row">{f"{i} " if numbered else ""}{name(label, 60)}</th>'
        + "".join(_cell(found.counts[i][j], rows[i], hit=i == j) for j in range(k))
        + "</tr>\n"
        for i, label in enumerate(found.classes)
    )
    caption = (
        "True class down, predicted class across; the stronger the colour, the larger the share of the true class."
    )
    return Safe(
        '<div class="wide" role="region" tabindex="0" aria-label="Confusion matrix"><table class="heat">'
        f'<caption>{caption}</caption><thead><tr><th scope="col">true</th>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(count: int, total: int, *, hit: bool) -> str:
    share = count / total if total else 0.0
    kinds = [*["hit"] * hit, *["full"] * (share >= 0.5)]
    mark = f' class="{" ".join(kinds)}"' if kinds else ""
    return f'<td{mark} style="--v:{_darkness(share)}">{count:,}</td>' if count else "<td></td>"


def _darkness(share: float) -> int:
    """Return how much colour a cell has, 0 to 100; nothing between 40 and 70, where no text would be read."""
    return round(80 * share if share < 0.5 else 40 + 60 * share)


def _by_class(found: Confusion, order: Sequence[int], caption: str) -> Safe:
    heads, lines, words = found.by_class()
    recall, at = found.recall, heads.index("recall")
    shown = []
    for i in order:
        line, value = list(lines[i]), recall[i]
        if value is not None:
            line[at] = Safe(f'<span class="bar" style="--v:{100 * value:.0f}"></span>{value:.4f}')
        shown.append(line)
    return table(caption, heads, shown, words, limit=40_000)


def _mistakes(found: Confusion) -> Safe:
    pairs = [(count, i, j) for i, line in enumerate(found.counts) for j, count in enumerate(line) if i != j and count]
    rows = found.rows
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    lines = [
        [str(n + 1), name(found.classes[i], 80), name(found.classes[j], 80), f"{count:,}", f"{count / rows[i]:.4f}"]
        for n, (count, i, j) in enumerate(pairs[:WORST])
    ]
    heads = ["#", "true class", "taken for", "images", "share of the class"]
    caption = f"The {len(lines)} commonest mistakes of {len(pairs):,} kinds"
    return table(caption, heads, lines, [False, True, True, False, False]) if lines else Safe("")
