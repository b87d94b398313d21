"""``--set``: values as TOML or as words, and which rows they change."""

from __future__ import annotations

from typing import Any

import pytest

from featx.errors import OptionError
from featx.recipes.expand import Recipe, expand
from featx.recipes.overrides import parse_override, parse_overrides
from featx.recipes.recipe import parse

TEXT = """
[recipe]
name = "x"
[defaults]
backbone = "resnet18"
size = 64
[train]
epochs = 5
[[row]]
name = "pixels"
backbone = "pixels"
size = 32
[[row]]
name = "fit"
layer = "avgpool"
[[row]]
name = "tuned"
mode = "finetune"
epochs = 9
[[row]]
name = "scratch"
mode = "scratch"
[[row]]
name = "on it"
backbone = "row:tuned"
layer = "avgpool"
"""


def changed(*changes: str) -> Recipe:
    return expand(parse(TEXT, "x.toml", parse_overrides(["source=digits", *changes])))


def of(recipe: Recipe, read: Any) -> dict[str, Any]:
    return {experiment.name: read(experiment) for experiment in recipe.experiments}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("size=64", 64),
        ("lr=1e-4", 1e-4),
        ("weights=random:0", "random:0"),
        ("source=2024", "2024"),
        ('source="2024"', "2024"),
        ("source=a=b.zip", "a=b.zip"),
        ("seeds=0,1,2", [0, 1, 2]),
        ("seeds=[0, 1]", [0, 1]),
        ("mean=0.5,0.4,0.4", [0.5, 0.4, 0.4]),
        ("layer=[layer1:avg, avgpool]", ["layer1:avg", "avgpool"]),
        ("head=flat-mlp:256,128:dropout=0.5", "flat-mlp:256,128:dropout=0.5"),
        ("standardize=false", False),
        ("per-class=20", 20),
        ("train-split=train\nx = 1", "train\nx = 1"),
        ("C=1" + "0" * 5000, "1" + "0" * 5000),
    ],
)
def test_values_are_tomls_and_words_need_no_quotes(text: str, value: object) -> None:
    assert parse_override(text).value == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "size",
        "=3",
        "sise=3",
        "row.pixels.sise=3",
        "fit.epochs=3",
        "train.C=1",
        "mine.size=3",
        "row.=3",
        "row.C=3",
        "row..C=3",
    ],
)
def test_others_are_refused(text: str) -> None:
    with pytest.raises(OptionError):
        parse_override(text)


def test_a_change_is_made_in_defaults_and_in_rows_that_say_otherwise() -> None:
    found = changed("epochs=2", "size=48")
    assert of(found, lambda e: getattr(e.how, "epochs", None)) == {
        "pixels": None, "fit": None, "tuned": 2, "scratch": 2, "on it": None,
    }  # fmt: skip
    sizes = of(found, lambda e: e.network.size)
    assert sizes == {"pixels": 32, "fit": 48, "tuned": 48, "scratch": 48, "on it": None}, (
        "pixels have a size of their own"
    )


def test_another_backbone_and_other_weights_leave_alone_what_has_none() -> None:
    found = changed("backbone=vgg11", "weights=random:3")
    assert of(found, lambda e: (e.backbone, e.network.weights)) == {
        "pixels": ("pixels", "DEFAULT"),
        "fit": ("vgg11", "random:3"),
        "tuned": ("vgg11", "random:3"),
        "scratch": ("vgg11", "DEFAULT"),  # drawn from its seed
        "on it": ("row:tuned", "DEFAULT"),
    }


def test_a_change_of_one_kind_or_one_row_is_made_there_alone() -> None:
    found = changed("train.precision=bf16", "row.scratch.epochs=3", "fit.sweep=clip")
    assert of(found, lambda e: getattr(e.how, "epochs", None))["scratch"] == 3
    assert of(found, lambda e: getattr(e.how, "epochs", None))["tuned"] == 9
    assert of(found, lambda e: getattr(e.how, "precision", e.extraction.precision)) == {
        "pixels": "fp32", "fit": "fp32", "tuned": "bf16", "scratch": "bf16", "on it": "fp32",
    }  # fmt: skip
    assert {e.how.sweep for e in found.experiments if hasattr(e.how, "sweep")} == {"clip"}


def test_the_last_of_two_changes_counts() -> None:
    assert of(changed("epochs=2", "epochs=3"), lambda e: getattr(e.how, "epochs", None))["tuned"] == 3


@pytest.mark.parametrize("name", ["a.b", "a=b", "lr=0.1, v1.2"])
def test_names_of_rows_may_hold_dots_and_equals_signs(name: str) -> None:
    change = parse_override(f"row.{name}.head=mlp:8:dropout=0.5")
    assert (change.row, change.key, change.value) == (name, "head", "mlp:8:dropout=0.5")


def test_a_row_without_a_name_is_changed_by_none() -> None:
    text = '[recipe]\nname = "x"\n[[row]]\nbackbone = "pixels"'
    with pytest.raises(OptionError, match="there is no row ''"):
        parse(text, "x.toml", parse_overrides(["row. .C=3"]))


def test_a_row_that_is_not_there_has_the_nearest_suggested() -> None:
    with pytest.raises(OptionError, match="did you mean tuned"):
        changed("row.tune.epochs=3")


def test_a_change_that_no_row_has_a_use_for_is_refused() -> None:
    text = '[recipe]\nname = "x"\n[[row]]\nbackbone = "pixels"'
    for change in ("epochs=3", "layer=pool2", "weights=random:0"):
        with pytest.raises(OptionError, match="no row has a use"):
            parse(text, "x.toml", parse_overrides([change]))


def test_layers_to_choose_of_are_for_rows_that_have_none_of_their_own() -> None:
    text = '[recipe]\nname = "x"\n[[row]]\nbackbone = "lenet5"\nsource = "digits"\n'
    with pytest.raises(OptionError, match="no row has a use"):
        parse(f'{text}layer = "pool2"', "x.toml", parse_overrides(["best_of=[pool1, pool2]"]))
    (row,) = expand(parse(text, "x.toml", parse_overrides(["best_of=[pool1, pool2]"]))).experiments
    assert [str(layer) for layer in row.layers] == ["pool1", "pool2"]
