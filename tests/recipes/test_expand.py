"""Lists multiply, defaults are filled in, and every option of a fit and of a training can be set."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from featx.core.specs import BackboneConfig, ExtractConfig, LayerSpec, Views
from featx.data.split_options import SplitOptions
from featx.probes.config import FitConfig
from featx.recipes.expand import Recipe, expand
from featx.recipes.recipe import parse
from featx.training.config import TrainConfig

HEAD = '[recipe]\nname = "x"\n[defaults]\nsource = "digits"\n'


def recipe(text: str) -> Recipe:
    return expand(parse(HEAD + text, "x.toml"))


def names(text: str) -> list[str]:
    return [experiment.name for experiment in recipe(text).experiments]


def test_lists_multiply_and_what_differs_names_the_rows() -> None:
    text = '[[row]]\nbackbone = ["lenet5", "resnet18"]\nmode = ["frozen", "finetune"]\nsize = [32, 64]'
    found = recipe(text).experiments
    assert len(found) == 8
    assert {e.name for e in found} >= {"lenet5, frozen, size=32", "resnet18, finetune, size=64"}


def test_sources_and_heads_and_layers_multiply_and_seeds_do_not() -> None:
    text = '[[row]]\nname = "a"\nsource = ["x", "y"]\nbackbone = "lenet5"\nlayer = ["pool1", "pool2"]\n'
    found = recipe(text + 'head = ["softmax", "knn"]\nseeds = [0, 1]').experiments
    assert len(found) == 8
    assert {e.seeds for e in found} == {(0, 1)}
    assert found[0].name == "a, x, pool1, softmax"


def test_names_have_their_placeholders_filled_in_and_the_rest_behind() -> None:
    text = '[[row]]\nname = "{backbone} by {mode}"\nbackbone = ["lenet5", "vgg11"]\nmode = "frozen"\nlr = [0.1, 0.2]'
    assert names(text) == [
        "lenet5 by frozen, lr=0.1", "lenet5 by frozen, lr=0.2", "vgg11 by frozen, lr=0.1", "vgg11 by frozen, lr=0.2",
    ]  # fmt: skip


def test_a_row_without_a_name_is_called_by_what_it_is() -> None:
    assert names('[[row]]\nbackbone = "lenet5"\nlayer = "pool2"\n[[row]]\nbackbone = "lenet5"\nmode = "scratch"') == [
        "lenet5, pool2",
        "lenet5, scratch",
    ]


def test_several_layers_in_one_row_are_for_validation_to_choose_of() -> None:
    (row,) = recipe('[[row]]\nbackbone = "lenet5"\nbest_of = ["pool1", "fc*"]').experiments
    assert row.layers == (LayerSpec("pool1"), LayerSpec("fc*"))


def test_rows_take_of_the_defaults_what_they_have_a_use_for() -> None:
    text = 'weights = "random:0"\nsize = 48\nepochs = 3\nlayer = "pool2"\nprecision = "bf16"\nper_class = 5\n'
    text += "".join(
        f'[[row]]\nname = "{name}"\n{how}\n'
        for name, how in {
            "pixels": 'backbone = "pixels"',
            "fit": 'backbone = "lenet5"',
            "tuned": 'backbone = "lenet5"\nmode = "finetune"',
            "scratch": 'backbone = "lenet5"\nmode = "scratch"',
            "on it": 'backbone = "row:tuned"',
        }.items()
    )
    pixels, fit, tuned, scratch, on_it = recipe(text).experiments
    assert (pixels.network, pixels.extraction) == (BackboneConfig(), ExtractConfig())
    assert fit.network == tuned.network == BackboneConfig("random:0", size=48)
    assert scratch.network == BackboneConfig(size=48), "its weights are drawn from the seed"
    assert (on_it.network, on_it.extraction.precision) == (BackboneConfig(), "bf16")
    assert {e.rows for e in (pixels, fit, tuned, scratch, on_it)} == {SplitOptions(per_class=5)}
    assert isinstance(tuned.how, TrainConfig)
    assert tuned.how.epochs == 3


SOME: dict[str, Any] = {
    "train_split": "train", "test_split": "val", "limit": 7, "per_class": 3, "root": "x",
    "val_size": 0.2, "exclude": "found.csv",
    "weights": "random:1", "stem": "cifar", "size": 32, "mean": [0.5], "std": [0.5], "resize": "pad",
    "interpolation": "bicubic", "bits": 12, "crops": 5, "flip": True, "scales": [1.0, 1.5],
    "precision": "bf16", "dtype": "float16", "batch_size": 8, "device": "cpu", "workers": 2, "on_error": "skip",
    "head": "softmax", "C": 2.0, "sweep": None, "standardize": False, "normalize": "l2", "penalty": "elasticnet",
    "l1_ratio": 0.25, "class_weight": "balanced", "fit_intercept": False, "k": None, "tol": 1e-3, "max_iter": 5,
    "shots": 4, "draws": 2, "calibrate": None, "halving": False,
}  # fmt: skip
TRAINED: dict[str, Any] = {
    **{name: SOME[name] for name in ("precision", "device", "on_error", "class_weight")},
    "unfreeze_from": "layer4", "head": "mlp:8", "init_head": "x", "epochs": 3, "batch_size": 16, "accumulate": 2,
    "optimizer": "adamw", "lr": 0.5, "head_lr_factor": 2.0, "momentum": 0.5, "weight_decay": 0.1, "schedule": "step",
    "warmup_epochs": 1, "clip": 2.0, "label_smoothing": 0.1, "augment": "flip", "mixup": 0.1, "cutmix": 0.2,
    "patience": 2, "calibrate": "temperature", "sync_batch_norm": False, "checkpoint_minutes": 1.0,
}  # fmt: skip


def _toml(values: dict[str, Any]) -> str:
    return "\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items() if value is not None)


def _values(config: Any, but: tuple[str, ...] = ("seed", "mode", "views")) -> dict[str, Any]:
    found = {field.name: getattr(config, field.name) for field in dataclasses.fields(config) if field.name not in but}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


@pytest.mark.parametrize("where", ["row", "defaults"])
def test_every_option_of_a_fit_can_be_set(where: str) -> None:
    own = '[[row]]\nbackbone = "resnet18"\nlayer = "avgpool"\n'
    (row,) = recipe(own + _toml(SOME) if where == "row" else _toml(SOME) + "\n" + own).experiments
    assert isinstance(row.how, FitConfig)
    views = row.network.views
    assert views == Views(5, flip=True, scales=(1.0, 1.5))
    parts = (row.rows, row.network, row.extraction, row.how)
    found = {name: value for part in parts for name, value in _values(part).items()}
    assert found == {name: value for name, value in SOME.items() if name not in ("crops", "flip", "scales")}


@pytest.mark.parametrize("where", ["row", "train"])
def test_every_option_of_a_training_can_be_set(where: str) -> None:
    own = '[[row]]\nbackbone = "resnet18"\nmode = "finetune"\n'
    (row,) = recipe(own + _toml(TRAINED) if where == "row" else f"[train]\n{_toml(TRAINED)}\n{own}").experiments
    assert isinstance(row.how, TrainConfig)
    assert _values(row.how) == TRAINED


def test_hyphens_are_as_good_as_underscores() -> None:
    (row,) = recipe('[[row]]\nbackbone = "pixels"\nper-class = 4').experiments
    assert row.rows.per_class == 4
