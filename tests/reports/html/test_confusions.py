"""What is taken for what: whole where a page has room, else the worst."""

from __future__ import annotations

import re

from pages import read_page

from featx.reports.confusion import Confusion
from featx.reports.html.confusions import confusion_html


def confusion(k: int, name: str = "class") -> Confusion:
    """Of k classes with ten images each; class i has i mod 10 images taken for the next."""
    counts = [[0] * k for _ in range(k)]
    for i, line in enumerate(counts):
        line[i] = 10 - i % 10
        line[(i + 1) % k] += i % 10
    return Confusion(
        "20260102-030405-fit-a1b2", "test", tuple(f"{name}{i}" for i in range(k)), tuple(map(tuple, counts))
    )


def test_a_small_matrix_is_shown_whole() -> None:
    text = confusion_html(confusion(10))
    found = read_page(text)
    heat = text[: text.index("</table>")]
    assert heat.count("<td") == 100
    assert found.texts["caption"][0].startswith("True class down, predicted class across")
    worst = next(line for line in found.texts["tr"] if line.startswith("class910"))
    assert "0.1000" in worst
    assert worst.endswith("(9)")


def test_no_cell_is_so_dark_that_neither_colour_of_text_is_read() -> None:
    shades = {int(v) for v in re.findall(r"--v:(\d+)\">\d", confusion_html(confusion(10)))}
    assert max(shades) == 100
    assert not [v for v in shades if 40 < v < 70]


def test_of_many_classes_the_worst_are_shown() -> None:
    found = read_page(confusion_html(confusion(200)))
    assert found.texts["caption"] == [
        "The 20 classes of 200 that are found least",
        "The 20 commonest mistakes of 180 kinds",
    ]
    assert found.texts["tbody"][0].count("0.1000") >= 20
    assert found.count["tr"] == 42


def test_names_are_text_and_a_class_may_have_no_rows() -> None:
    few = Confusion("r", "test", ("<b>", "\u202ex"), ((0, 0), (1, 1)))
    text = confusion_html(few)
    read_page(text)
    assert "<b>" not in text
    assert "\u202e" not in text
