"""Each ingredient of a feature changed, one by one: never a stale feature, and nothing computed again in vain."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from faults_table import Line, Options
from stale_cases import LENET, Case, Recipe, arrays, attempt
from stale_images import data_cases, mapped, racy
from stale_sources import KINDS, put

from featx.cache.key import FeatureKey
from featx.core.hashing import digest_of
from featx.core.specs import PreprocessSpec, Views
from featx.models.backbones import resolve

FACTORY = """
from torch import nn
from beside import WIDTH
try:
    from absent import SLOPE
except ImportError:
    SLOPE = 0.1


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.act, self.fc = nn.Conv2d(3, WIDTH, 3), nn.LeakyReLU(SLOPE), nn.Linear(WIDTH, 2)

    def forward(self, x):
        return self.fc(self.act(self.body(x)).mean((2, 3)))


def make():
    return Net()
"""


def stale(options: Options) -> list[Line]:
    """Change everything that a feature depends on, then everything that it does not."""
    groups = {
        "ingredients of the key": _settings(options.scratch / "key"),
        "a factory's code": _code(options.scratch / "code"),
        "images, labels, places": data_cases(options.scratch / "data"),
    }
    lines = [_fields()]
    for title, cases in groups.items():
        lines += attempt(title, cases)
    return [*lines, racy(options.scratch / "racy"), mapped(options.scratch / "mapped")]


# What is asked for


def _fields() -> Line:
    """Change each field of the key, of the preprocessing and of the views: no two digests are equal."""
    spec = PreprocessSpec(32, 28, views=Views(crops=5))
    other: dict[str, Any] = {
        "resize": 33,
        "crop": 27,
        "mean": (0.1, 0.2, 0.3),
        "std": (1.0, 2.0, 3.0),
        "interpolation": "bicubic",
        "decoder": "x",
        "resizer": "x",
    }
    specs = [spec.as_dict() | {name: value} for name, value in other.items()]
    specs += [PreprocessSpec(28, 28, fit=fit).as_dict() for fit in ("crop", "squash", "pad")]
    specs += [PreprocessSpec(28, 28, 1, (0.5,), (0.5,)).as_dict(), PreprocessSpec(None, None, fit="none").as_dict()]
    specs += [PreprocessSpec(32, 28, views=views).as_dict() for views in VIEWS]
    key = FeatureKey("0" * 64, 3, "lenet5", "1" * 64, "fc1", spec.as_dict())
    changed: dict[str, Any] = {
        "rows": "2" * 64,
        "n_rows": 4,
        "backbone": "x",
        "weights": "2" * 64,
        "layer": "fc2",
        "precision": "bf16",
        "dtype": "float16",
        "options": {"stem": "cifar"},
        "code": "3" * 64,
        "schema": 2,
    }
    assert {f.name for f in fields(FeatureKey)} == {*changed, "preprocess"}
    assert {f.name for f in fields(PreprocessSpec)} == {*other, "fit", "channels", "views"}
    keys = [key.as_dict(), *(key.as_dict() | {name: value} for name, value in changed.items())]
    keys += [key.as_dict() | {"preprocess": values} for values in specs]
    return Line(
        "never stale", "each field of the key", len(keys), {"equal digests": len(keys) - len({*map(digest_of, keys)})}
    )


VIEWS = (Views(), Views(flip=True), Views(crops=10), Views(scales=(1.0, 1.5)))


def _settings(root: Path) -> list[Case]:
    name, files = KINDS["folder"]
    X, y = arrays(side=36)
    put(root, files(X, y))
    base = Recipe(root / name)
    others = [
        *({**LENET, **more} for more in ({"weights": "random:1"}, {"size": 28}, {"mean": (0.2,)}, {"std": (0.3,)})),
        *({**LENET, **more} for more in ({"resize": "squash"}, {"resize": "none", "size": None}, {"channels": 3})),
        *({**LENET, "interpolation": "bicubic"}, *({**LENET, "views": views} for views in VIEWS[1:])),
    ]
    cases = [Case(str(asked), root / "home", base, _nothing, Recipe(root / name, asked=asked)) for asked in others]
    for layer in ("conv1:max", "conv1", "conv1:avg2", "conv2:avg", "fc1"):
        cases.append(Case(layer, root / "home", base, _nothing, Recipe(root / name, layer=layer)))
    for config in ({"precision": "bf16"}, {"precision": "fp16"}, {"dtype": "float16"}):
        cases.append(Case(str(config), root / "home", base, _nothing, Recipe(root / name, config=config)))
    small = {"weights": "random:0", "size": 32}
    stem = Recipe(root / name, "resnet18", {**small, "stem": "cifar"}, "layer1:avg")
    cases.append(Case("stem", root / "home", Recipe(root / name, "resnet18", small, "layer1:avg"), _nothing, stem))
    for changes in ({"batch_size": 3}, {"workers": 2}):
        cases.append(Case(str(changes), root / "home", base, _nothing, Recipe(root / name, config=changes), True))
    for seed in (1, 2):
        again = Recipe(root / name, splits={"per_class": 4, "seed": seed})
        cases.append(Case(f"--per-class, seed {seed}", root / "home", base, _nothing, again, True))
    return [*cases, *_weights(root, base.source)]


def _nothing() -> None:
    pass


def _weights(root: Path, source: Path) -> list[Case]:
    import torch
    from safetensors.torch import save_file

    state = resolve("lenet5", **LENET).module().state_dict()
    cases = []
    for suffix, save in ((".pt", torch.save), (".safetensors", save_file)):
        path = root / f"weights{suffix}"
        save(state, path)
        recipe = Recipe(source, asked={**LENET, "weights": str(path)})
        cases.append(
            Case(f"one weight{suffix}", root / "home", recipe, partial(_one_weight, path, save, state), recipe)
        )
    return cases


def _one_weight(path: Path, save: Any, state: dict[str, Any]) -> None:
    before = path.stat()
    changed = {name: tensor.clone() for name, tensor in state.items()}
    changed["conv1.weight"].view(-1)[0] += 1
    save(changed, path.with_name("new"))
    path.write_bytes(path.with_name("new").read_bytes())  # the same file, its time put back
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


# A user's own code


def _code(root: Path) -> list[Case]:
    name, files = KINDS["folder"]
    put(root, files(*arrays()))
    changes: dict[str, Callable[[Path], Any]] = {
        "the factory": lambda f: _edit(f / "net.py", "3, WIDTH, 3)", "3, WIDTH, 5)"),
        "a module beside it": lambda f: _edit(f / "beside.py", "4", "5"),
        "a module that was absent": lambda f: (f / "absent.py").write_text("SLOPE = 0.9\n"),
        "a package in a module's place": lambda f: _package(f / "beside"),
    }
    cases = []
    for what, change in changes.items():
        folder = root / what.replace(" ", "-")
        folder.mkdir()
        (folder / "net.py").write_text(FACTORY)
        (folder / "beside.py").write_text("WIDTH = 4\n")
        recipe = Recipe(root / name, f"{folder}/net.py:make", {"weights": "random:0", "size": 16}, "act:avg")
        cases.append(Case(what, folder / "home", _in_folder(recipe), partial(change, folder), _in_folder(recipe)))
    return cases


def _in_folder(recipe: Recipe) -> Any:
    """Return the recipe with the factory's folder on the path, as Python has it for a script there."""
    return _Beside(recipe.source, recipe.backbone, recipe.asked, recipe.layer)


class _Beside(Recipe):
    def __call__(self, home: Path) -> tuple[dict[str, bytes], list[Any], int]:
        sys.path.insert(0, str(Path(self.backbone.partition(":")[0]).parent))
        return super().__call__(home)


def _edit(path: Path, old: str, new: str) -> None:
    before = path.stat()
    path.write_text(path.read_text().replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _package(folder: Path) -> None:
    folder.mkdir()
    (folder / "__init__.py").write_text("WIDTH = 7\n")
