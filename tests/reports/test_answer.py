"""What runs answer, in words."""

from __future__ import annotations

from typing import Any

from recorded import FIT, TRAIN, rows

from featx.reports.answer import answer_of, hows_of
from featx.reports.over_seeds import over_seeds

N = {"rows": {"test": 1000}}
PIXELS = {**FIT, **N, "layer": "pixels", "head": "softmax", "backbone": "pixels", "weights": "none"}
PIXELS |= {"parameters": {"trainable": 650}, "seconds": {"total": 2.0}, "accuracy": {"test": 0.50}}
LAYER = {**FIT, **N, "head": "softmax", "parameters": {"trainable": 5130}, "seconds": {"total": 10.0}}
LAYER |= {"accuracy": {"test": 0.87}, "computed": 0, "reused": 60_000}
TUNED = {**TRAIN, **N, "accuracy": {"test": 0.95}, "seconds": {"total": 3600.0}}


def answers(*records: dict[str, Any]) -> list[str]:
    return answer_of(over_seeds(rows(*records)))


def test_two_sentences_say_which_wins_by_how_much_and_what_it_costs() -> None:
    first, second = answers(PIXELS, LAYER, TUNED)
    assert first == (
        "resnet18 fine-tuned is the most accurate of 3: it gets 95.0 % (93.5 to 96.2 %) of the test images right, 8.0 "
        "points more than softmax on layer4:avg of resnet18 with 87.0 % (95 % interval of the difference +5.5 to +10.5 "
        "points, from both intervals, not paired)."
    )
    assert second == (
        "resnet18 fine-tuned took 60 min, 360 times as long as softmax on layer4:avg of resnet18 (10 s with its "
        "features stored before); the former trained 11,181,642 parameters, the latter 5,130."
    )


def test_no_difference_is_claimed_where_the_interval_holds_0() -> None:
    first, _ = answers(LAYER, {**TUNED, "accuracy": {"test": 0.875}})
    assert first.startswith(
        "There is no difference that these two rows can tell between resnet18 fine-tuned with 87.5 %"
    )
    assert "the two are 0.5 points apart" in first
    assert "most accurate of" not in first
    three = answers(LAYER, {**TUNED, "accuracy": {"test": 0.875}}, {**PIXELS, "accuracy": {"test": 0.86}})[0]
    assert "and 1 other: the most accurate two are" in three


def test_the_price_is_told_beside_the_softmax_fit_with_what_it_buys() -> None:
    _, second = answers(
        PIXELS,
        {**PIXELS, "layer": "fc", "backbone": "resnet18", "accuracy": {"test": 0.7}},
        {**TUNED, "accuracy": {"test": 0.6}},
    )
    assert second.startswith(
        "resnet18 fine-tuned took 60 min, 1,800 times as long as softmax on fc of resnet18 (2.00 s)"
    )
    assert "resnet18 fine-tuned" in second
    swift = answers({**LAYER, "seconds": {"total": 20.0}}, {**TUNED, "seconds": {"total": 10.0}})[1]
    assert (
        "took 10 s and softmax on layer4:avg of resnet18 20 s with its features stored before, 2.0 times as long"
        in swift
    )


def test_rows_of_other_test_images_are_never_compared() -> None:
    found = answers(PIXELS, TUNED, {**LAYER, "source": "flowers102"})
    assert found[0] == "These runs were scored on 2 different sets of test images, and are not ranked together."
    assert found[1].startswith("On set 1, 1,000 test images of cifar10: resnet18 fine-tuned is the most accurate of 2")
    assert found[-1].startswith(
        "On set 2, 1,000 test images of flowers102: Softmax on layer4:avg of resnet18 gets 87.0 %"
    )
    many = answers(*({**LAYER, "source": f"set{i}"} for i in range(5)))
    assert many[-1] == "2 more sets are in the table."


def test_one_row_is_one_sentence() -> None:
    assert answers(LAYER) == [
        "Softmax on layer4:avg of resnet18 gets 87.0 % of the test images right (95 % interval 84.8 to 88.9 %, Wilson, "
        "1,000 test images); it took 10 s with its features stored before and trained 5,130 parameters."
    ]


def test_without_a_test_accuracy_nothing_is_said_of_any() -> None:
    assert answers({**LAYER, "accuracy": {}}) == ["None of these runs has a test accuracy."]
    assert len(answers({**LAYER, "accuracy": {}}, LAYER)) == 1


def test_rows_are_called_by_how_they_learn_and_by_what_tells_them_apart() -> None:
    frozen = {**TRAIN, "mode": "frozen", "head": "mlp:256"}
    found = rows(
        PIXELS, LAYER, {**LAYER, "C": 1.0}, frozen, {**TRAIN, "mode": "scratch"}, {**TRAIN, "unfreeze_from": "layer4"}
    )
    assert hows_of(found) == [
        "softmax on raw pixels",
        "softmax on layer4:avg of resnet18 (C=0.01)",
        "softmax on layer4:avg of resnet18 (C=1)",
        "mlp:256 head on frozen resnet18",
        "resnet18 from scratch",
        "resnet18 fine-tuned from layer4",
    ]
    several = rows(*({**LAYER, "source": name, "images": n} for name, n in (("a/x", 1), ("b/y", 2), ("b/y", 3))))
    assert [how.partition("(")[2] for how in hows_of(several)] == [
        "source=x, images=1)",
        "source=y, images=2)",
        "source=y, images=3)",
    ]
    assert hows_of([{**found[0], "name": "pixels, as they are"}]) == ["pixels, as they are"]


def test_what_a_stranger_wrote_is_one_short_line() -> None:
    odd = {**TUNED, "backbone": "x\n\u202e" * 100, "seconds": {"total": "soon"}, "parameters": []}
    for line in answers(odd, {**odd, "mode": ["?"]}, {**LAYER, "layer": {"a": 1}}):
        assert line.isprintable()
        assert len(line) < 900
