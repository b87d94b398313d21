"""The recipes that come with featx: there, whole, and as documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from featx.errors import OptionError
from featx.probes.config import FitConfig
from featx.recipes.builtin_recipes import built_in, load_recipe
from featx.recipes.expand import expand
from featx.recipes.recipe import parse
from featx.reports.columns import chosen
from featx.training.config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("compare", "layer-map", "s0", "s1", "s2", "s3", "s4")


def test_each_has_a_line_that_says_what_it_compares() -> None:
    titles = built_in()
    assert tuple(titles) == NAMES
    assert all(len(title) > 30 for title in titles.values())


@pytest.mark.parametrize("name", NAMES)
def test_each_needs_images_alone(name: str) -> None:
    with pytest.raises(OptionError, match="names no source") as caught:
        load_recipe(name)
    assert f"featx run {name} --set source=" in caught.value.hint
    recipe = load_recipe(name, ["source=digits"])
    assert recipe.name == name
    assert {experiment.source for experiment in recipe.experiments} == {"digits"}
    assert chosen(recipe.columns, []) or not recipe.columns


@pytest.mark.parametrize("name", NAMES)
def test_each_can_be_made_small(name: str) -> None:
    small = ["source=digits", "limit=50", "size=32", "weights=random:0"]
    trains = any(isinstance(e.how, TrainConfig) for e in load_recipe(name, small[:1]).experiments)
    recipe = load_recipe(name, [*small, *(["train.epochs=1", "warmup_epochs=0"] if trains else [])])
    for experiment in recipe.experiments:
        assert experiment.rows.limit == 50
        if isinstance(experiment.how, TrainConfig):
            assert experiment.how.epochs == 1
        scratch = isinstance(experiment.how, TrainConfig) and experiment.how.mode == "scratch"
        drawn = "DEFAULT" if scratch or experiment.backbone.startswith(("row:", "pixels")) else "random:0"
        assert experiment.network.weights == drawn


def test_a_title_says_what_was_changed() -> None:
    assert load_recipe("s2", ["source=digits"]).title == built_in()["s2"]
    title = load_recipe("s2", ["source=digits", "weights=/home/me/net.pth", "size=48"]).title
    assert title == f"{built_in()['s2']}; with weights=net.pth, size=48"


def test_the_settings_are_those_that_were_printed() -> None:
    s0, s1, s2, s4 = ({e.name: e for e in load_recipe(n, ["source=x"]).experiments} for n in ("s0", "s1", "s2", "s4"))
    vgg = s0["VGG16 frozen"]
    assert isinstance(vgg.how, TrainConfig)
    assert (vgg.network.size, vgg.how.head, vgg.how.batch_size, vgg.bench) == (64, "flat-linear", 128, True)
    tuned, scratch = s1["fine-tuned"], s1["from scratch"]
    assert isinstance(tuned.how, TrainConfig)
    assert isinstance(scratch.how, TrainConfig)
    assert (tuned.how.epochs, tuned.seeds, scratch.how.epochs) == (15, (0, 1, 2), 125)
    assert {tuned.how.batch_size, scratch.how.batch_size} == {128}
    head = s2["two hidden layers on the frozen base"].how
    assert isinstance(head, TrainConfig)
    assert (head.optimizer, head.lr, head.batch_size, head.epochs) == ("adam", 1e-4, 64, 10)
    assert head.head == "flat-mlp:256,128:dropout=0.5"
    trained = [e.how for e in s4.values() if isinstance(e.how, TrainConfig)]
    assert {(how.epochs, how.batch_size, how.lr, how.momentum) for how in trained} == {(10, 256, 0.05, 0.0)}
    assert len(trained) == 4
    assert sum(isinstance(e.how, FitConfig) for e in s4.values()) == 5


def test_a_recipe_that_is_not_there_has_the_nearest_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").touch()
    for name, near in {"compair": "compare", "layermap": "layer-map", "min.toml": "mine.toml"}.items():
        with pytest.raises(OptionError, match="there is no recipe") as caught:
            load_recipe(name, ["source=digits"])
        assert near in caught.value.hint


def test_the_recipe_that_the_documentation_shows_is_one() -> None:
    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    found = expand(parse(text, "docs"))
    assert [e.name for e in found.experiments] == [
        "softmax on raw pixels",
        "resnet18, layer3:avg",
        "resnet18, avgpool",
        "resnet18 by frozen",
        "resnet18 by finetune",
        "vgg11 by frozen",
        "vgg11 by finetune",
        "softmax on the fine-tuned ResNet-18",
    ]


def test_the_documentation_tells_of_each_and_gives_its_command() -> None:
    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"| `{name}` |" in page
        assert f"featx run {name} --set source=" in page
