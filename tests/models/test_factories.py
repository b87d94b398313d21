"""A user's own network: the right code runs, it is hashed, and what goes wrong is said in one line."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from featx.cache.memo import Memo
from featx.cache.store import FeatureStore
from featx.core.specs import ExtractConfig, LayerSpec
from featx.data.arrays import ArraySource
from featx.errors import FeatxError, OptionError, WeightsError
from featx.extraction.extract import extract, feature_key
from featx.models.backbones import Backbone, resolve
from featx.models.factories import parse, sources

NET = """
import torch
from torch import nn

def make(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Flatten(), nn.ReLU())

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

    def forward(self, x):
        return self.model(x)
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str, name: str = "net.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return to_file


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """An importable package of a name of its own."""
    name = "own_" + "".join(c for c in request.node.name if c.isalnum())[:40]
    folder = tmp_path / "site" / name
    (folder / "nets").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "nets" / "__init__.py").write_text("")
    (folder / "nets" / "small.py").write_text("from ..parts import WIDTH\n" + NET.replace("width=4", "width=WIDTH"))
    (folder / "parts.py").write_text("WIDTH = 5\n")
    (folder / "stranger.py").write_text("raise RuntimeError\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return folder


def digest(backbone: Backbone) -> str:
    source = ArraySource(np.zeros((2, 8, 8, 3), np.uint8))
    return feature_key(source, backbone, LayerSpec("conv1"), ExtractConfig()).digest


def test_file_is_extracted_from(tmp_path: Path, write: Write) -> None:
    source = ArraySource(np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8))
    backbone = resolve(f"{write(NET)}:make", size=8)
    config = ExtractConfig(device="cpu", workers=1)
    result = extract({"all": source}, backbone, ["1:avg"], FeatureStore(tmp_path / "home"), config)
    x = torch.from_numpy(source[0][0]).permute(2, 0, 1).float() / 255
    x = (x - torch.tensor(backbone.preprocess.mean)[:, None, None]) / torch.tensor(backbone.preprocess.std)[
        :, None, None
    ]
    wanted = backbone.module()[:2](x[None]).mean((2, 3))  # type: ignore[index]
    np.testing.assert_allclose(result.tables["all", "1:avg"].X[:1], wanted, rtol=1e-5, atol=1e-6)


def test_preprocessing_is_224_px_with_imagenets_statistics(write: Write) -> None:
    name = f"{write(NET)}:Net"
    spec = resolve(name).preprocess
    assert (spec.resize, spec.crop, spec.channels) == (224, 224, 3)
    assert resolve(name, size=32, mean=[0.5]).preprocess.mean == (0.5, 0.5, 0.5)


def test_seed_draws_the_weights(write: Write) -> None:
    name = f"{write(NET)}:make"
    before = torch.get_rng_state()
    found = [resolve(name, weights=w).weights_sha256 for w in ("random:1", "random:1", "random:2")]
    assert found[0] == found[1] != found[2]
    assert resolve(name).module() is not None  # DEFAULT is the same each time, too
    assert torch.equal(before, torch.get_rng_state())


def test_key_depends_on_the_code_and_not_on_its_folder(write: Write) -> None:
    first = resolve(f"{write(NET)}:make", weights="random:0")
    moved = resolve(f"{write(NET, 'sub/net.py')}:make", weights="random:0")
    other = resolve(f"{write(NET + '# other')}:make", weights="random:0")
    assert digest(first) == digest(moved) != digest(other)
    assert first.weights_sha256 == other.weights_sha256
    assert first.name == "net.py:make"


def test_weights_file_and_names_that_begin_with_model(write: Write, tmp_path: Path) -> None:
    name = f"{write(NET)}:Net"
    state = resolve(name, weights="random:5").module().state_dict()
    assert all(key.startswith("model.") for key in state)
    torch.save({"state_dict": {"module." + key: value for key, value in state.items()}}, tmp_path / "w.pth")
    found = resolve(name, weights=str(tmp_path / "w.pth"))
    assert found.weights_sha256 == resolve(name, weights="random:5").weights_sha256
    assert (found.head, found.head_width) == ("model.3", 4)
    with pytest.raises(WeightsError, match="no weights file"):
        resolve(name, weights="absent.pth")
    with pytest.raises(OptionError, match="expected DEFAULT"):
        resolve(name, weights="IMAGENET1K_V1")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def make(): raise KeyError('no such thing\\nat all')", "KeyError: 'no such thing"),
        ("def make(): raise SystemExit(3)", "SystemExit"),
        ("def make(): return 3", "returned a int, expected a torch.nn.Module"),
        ("def make(width, depth): return 3", "needs arguments .*'width'"),
        ("make = 3", "is a int, expected a function"),
        ("import torch\nmake = torch.nn.ReLU()", "is a ReLU, expected a function"),
        ("def mak(): return 3", "has no make .*did you mean mak"),
        ("def make(:", "SyntaxError"),
        ("import absent_module_of_mine", "absent_module_of_mine"),
        ("import torch\ndef make(): return torch.nn.LazyLinear(3)", "lazy"),
    ],
)
def test_code_that_does_not_give_a_network_is_told_in_one_line(write: Write, code: str, said: str) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        resolve(f"{write(code)}:make")
    assert "\n" not in str(caught.value)
    assert "net.py" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["a b:make", "net.py:", ":make", "net.py:make it", "a..b:make"])
def test_name_of_no_factory_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match=r"expected file\.py:factory"):
        resolve(name)


@pytest.mark.parametrize(
    ("name", "said"), [("absent.py:make", "no file"), ("absent_package.x:make", "no module"), ("sys:exit", "source")]
)
def test_absent_code_is_named(name: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        resolve(name)


def test_network_that_cannot_be_traced_says_so(write: Write, tmp_path: Path) -> None:
    code = "import torch\nclass Net(torch.nn.Module):\n def forward(self, x):\n  return x if x.sum() > 0 else -x\n"
    source = ArraySource(np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(OptionError, match=r"Net cannot be traced by torch\.fx") as caught:
        extract({"all": source}, resolve(f"{write(code)}:Net"), ["x"], FeatureStore(tmp_path / "home"))
    assert "\n" not in str(caught.value)


def test_what_the_code_prints_is_kept_off_standard_output(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    resolve(f"{write('print(1)' + NET)}:make")
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("settled")
def test_changed_code_is_noticed(write: Write, tmp_path: Path) -> None:
    memo, path = Memo(tmp_path / "home"), write(NET)
    first = resolve(f"{path}:make", weights="random:0", memo=memo)
    assert resolve(f"{path}:make", weights="random:0", memo=memo) == first
    write(NET.replace("width=4", "width=6"))
    second = resolve(f"{path}:make", weights="random:0", memo=memo)
    assert (first.code, first.weights_sha256) != (second.code, second.weights_sha256)
    with pytest.raises(FeatxError, match="changed while featx was running"):
        first.module()


@pytest.mark.usefixtures("settled")
def test_weights_that_a_factory_loads_itself_are_looked_at_each_time(write: Write, tmp_path: Path) -> None:
    loading = f"\ndef own():\n    net = Net()\n    net.load_state_dict(torch.load({str(tmp_path / 'w.pth')!r}))\n"
    name, memo = f"{write(NET + loading + '    return net')}:own", Memo(tmp_path / "home")
    found = []
    for seed in (0, 1):
        state = resolve(name.replace(":own", ":Net"), weights=f"random:{seed}").module().state_dict()
        torch.save(state, tmp_path / "w.pth")
        found.append(resolve(name, memo=memo).weights_sha256)
    assert found[0] != found[1]


def test_package_module_brings_what_it_imports(package: Path) -> None:
    from featx.models import factories

    own = factories.parse(f"{package.name}.nets.small:make")
    files = factories.sources(own)
    names = ["", ".nets", ".nets.small", ".parts"]
    assert sorted(files) == [package.name + name for name in names]  # not the stranger
    assert package.name not in sys.modules  # found without running it
    backbone = resolve(f"{package.name}.nets.small:make")
    assert backbone.module().get_parameter("0.weight").shape[0] == 5
    (package / "parts.py").write_text("WIDTH = 7\n")
    with pytest.raises(OptionError, match="changed while featx was running"):
        resolve(f"{package.name}.nets.small:make")


SHADOW = """
import sys
from featx.models.backbones import resolve
print(resolve(sys.argv[1], weights="random:0").module()[0].weight.shape[0], "" in sys.path[1:])
"""


@pytest.mark.parametrize("as_file", [False, True])
def test_working_folder_shadows_nothing(package: Path, tmp_path: Path, as_file: bool) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / f"{package.name}.py").write_text("raise RuntimeError('the wrong one')\n")
    (here / "helper_of_mine.py").write_text("raise RuntimeError('the wrong one')\n")
    (tmp_path / "site" / "helper_of_mine.py").write_text("")
    path = tmp_path / f"{package.name}.py"
    path.write_text("import helper_of_mine\n" + NET.replace("width=4", "width=5"))
    name = f"{path}:make" if as_file else f"{package.name}.nets.small:make"
    paths = os.pathsep.join(p for p in (str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")) if p)
    done = subprocess.run(
        [sys.executable, "-c", SHADOW, name],
        cwd=here, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["5", "False"], done.stderr


def test_module_beside_a_file_is_part_of_its_code(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"beside_{tmp_path.name}".replace("-", "_")
    inner = write("WIDTH = 4\n", f"{name}.py")
    write("", "elsewhere/nothing.py")
    path = write(f"import math\nimport numpy\nfrom {name} import WIDTH\n" + NET.replace("width=4", "width=WIDTH"))
    monkeypatch.syspath_prepend(str(tmp_path))
    factory = parse(f"{path}:make")
    assert sources(factory) == {"": path, name: inner}
    before = resolve(f"{path}:make")
    assert before.module().get_parameter("0.weight").shape[0] == 4
    inner.write_text("WIDTH = 6\n")
    with pytest.raises(OptionError, match="changed while featx was running"):
        before.module()
    with pytest.raises(OptionError, match="changed while featx was running"):  # Python keeps the old one
        resolve(f"{path}:make")


@pytest.mark.parametrize("name", ["/a/networks.py:make", "package.module:make"])
def test_origin_names_a_factory_wherever_one_stands(name: str) -> None:
    assert parse(name).origin == name
    assert parse(parse("networks.py:make").origin) == parse("networks.py:make")


def test_file_that_imports_nothing_of_its_own_keeps_its_key(write: Write, tmp_path: Path) -> None:
    path = write(NET)
    data = path.read_bytes()
    assert resolve(f"{path}:make").code == hashlib.sha256(b"0:%d:" % len(data) + data).hexdigest()


def test_environment_beside_a_file_is_not_its_code(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("WIDTH = 4\n", "env/site-packages/installed_thing.py")
    monkeypatch.syspath_prepend(str(tmp_path / "env" / "site-packages"))
    path = write("import installed_thing\n" + NET)
    assert list(sources(parse(f"{path}:make"))) == [""]
