"""Which network, which weights, which preprocessing: looked up, remembered, and never mistaken for others."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn
from torchvision.models import VisionTransformer

from featx.cache.memo import Memo
from featx.core.specs import IMAGENET_MEAN, ExtractConfig, LayerSpec
from featx.data.arrays import ArraySource
from featx.errors import OptionError, WeightsError
from featx.extraction.extract import feature_key
from featx.extraction.forward import Network
from featx.graph.traced import Traced
from featx.models import torchvision_models
from featx.models.backbones import Backbone, resolve
from featx.models.built_in_networks import LeNet5


def lenet_file(path: Path, seed: int = 0, **options: Any) -> Path:
    """Save a LeNet-5 as .pth or .safetensors."""
    torch.manual_seed(seed)
    state = LeNet5(**options).state_dict()
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return path


def digest(backbone: Backbone) -> str:
    source = ArraySource(np.zeros((2, 8, 8), np.uint8))
    return feature_key(source, backbone, LayerSpec("conv1"), ExtractConfig()).digest


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ResNet-18's published weights, made up, where torch.hub would have put them."""
    torch.manual_seed(9)
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(torchvision.models.resnet18().state_dict(), folder / "new")
    path = folder / f"resnet18-{hashlib.sha256((folder / 'new').read_bytes()).hexdigest()[:8]}.pth"
    (folder / "new").rename(path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    kind = torchvision.models.ResNet18_Weights
    fields = kind.IMAGENET1K_V1.value
    monkeypatch.setattr(fields, "url", f"https://download.pytorch.org/models/{path.name}", raising=True)
    return path


def test_default_weights_load_with_their_own_preprocessing(published: Path) -> None:
    backbone = resolve("resnet18")
    preset = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    assert [backbone.preprocess.resize] == preset.resize_size
    assert [backbone.preprocess.crop] == preset.crop_size
    assert list(backbone.preprocess.mean) == preset.mean
    assert backbone.file == str(published)
    assert (backbone.head, backbone.left_out, backbone.notes) == ("fc", (), ())
    state, wanted = backbone.module().state_dict(), torch.load(published)
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)


def test_names_of_the_same_weights_are_one_key(published: Path) -> None:
    names = ("DEFAULT", "IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1", str(published))
    assert len({digest(resolve("resnet18", weights=name)) for name in names}) == 1


def test_module_is_fresh_still_and_in_eval_mode() -> None:
    backbone = resolve("resnet18", weights="random:0")
    first, second = backbone.module(), backbone.module()
    assert first is not second
    assert not any(child.training for child in first.modules())
    assert not any(p.requires_grad for p in first.parameters())
    assert {p.dtype for p in first.parameters()} == {torch.float32}
    with torch.no_grad():
        first.get_parameter("conv1.weight").zero_()
    assert second.get_parameter("conv1.weight").any()


def test_random_weights_are_their_seed() -> None:
    same = [resolve("lenet5", weights="random:7") for _ in range(2)]
    assert same[0].weights_sha256 == same[1].weights_sha256
    assert same[0].weights_sha256 != resolve("lenet5", weights="random:8").weights_sha256
    torch.manual_seed(7)
    drawn = LeNet5(channels=3).get_parameter("fc3.weight")
    assert torch.equal(same[0].module().get_parameter("fc3.weight"), drawn)


def test_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    resolve("googlenet", weights="random:1")
    resolve("lenet5", weights="random:1").module()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("weights", ["random", "random:", "random:-1", "random:x", "random:1.5", "random:1:2"])
def test_seed_that_is_none_is_refused(weights: str) -> None:
    with pytest.raises(OptionError, match="random:SEED"):
        resolve("lenet5", weights=weights)


def test_file_may_be_called_random(tmp_path: Path) -> None:
    path = lenet_file(tmp_path / "random-start.pth")
    backbone = resolve("lenet5", weights=str(path))
    assert backbone.file == str(path)


def test_mistyped_backbone_is_told_the_right_one() -> None:
    with pytest.raises(OptionError) as caught:
        resolve("resnet-18", weights="random:0")
    assert "resnet18" in caught.value.hint


def test_lenet5_has_nothing_published() -> None:
    with pytest.raises(OptionError, match="no published weights") as caught:
        resolve("lenet5")
    assert "random:0" in caught.value.hint


@pytest.mark.parametrize("name", ["none.pth", "none.safetensors", "sub/none.ckpt"])
def test_absent_file_is_named(name: str) -> None:
    with pytest.raises(WeightsError, match=f"no weights file {name}"):
        resolve("lenet5", weights=name)


def test_file_with_a_prefix_and_other_things_beside_is_the_same_network(tmp_path: Path) -> None:
    state = torch.load(lenet_file(tmp_path / "a.pth"))
    torch.save({"backbone." + k: v for k, v in state.items()} | {"epoch": 3}, tmp_path / "b.pth")
    plain, found = [resolve("lenet5", weights=str(tmp_path / n)) for n in ("a.pth", "b.pth")]
    assert found.weights_sha256 == plain.weights_sha256
    assert found.options == plain.options
    assert found.module().state_dict().keys() == state.keys()


def test_own_copy_of_published_weights_is_used_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    drawn = torchvision.models.googlenet(init_weights=False, aux_logits=True)
    copy, other = tmp_path / "mine.pth", tmp_path / "other.pth"
    torch.save(drawn.state_dict(), copy)
    torch.save({"state_dict": drawn.state_dict()}, other)
    name = f"googlenet-{hashlib.sha256(copy.read_bytes()).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(copy.read_bytes())
    kind = torchvision.models.GoogLeNet_Weights
    monkeypatch.setattr(kind.IMAGENET1K_V1.value, "url", f"https://download.example.org/{name}")
    published, found, stranger = [resolve("googlenet", weights=w) for w in ("DEFAULT", str(copy), str(other))]
    assert digest(found) == digest(published)
    assert found.options["transform_input"] is True
    assert "GoogLeNet_Weights.IMAGENET1K_V1" in found.notes[0]
    assert (published.notes, stranger.notes) == ((), ())
    assert stranger.options["transform_input"] is False


def test_both_file_kinds_of_the_same_tensors_are_one_key(tmp_path: Path) -> None:
    found = [resolve("lenet5", weights=str(lenet_file(tmp_path / n))) for n in ("a.pth", "b.safetensors", "c.bin")]
    assert len({b.weights_sha256 for b in found}) == 1
    assert len({digest(b) for b in found}) == 1
    assert digest(resolve("lenet5", weights=str(lenet_file(tmp_path / "d.pth", seed=1)))) != digest(found[0])


def test_file_tells_how_many_channels_it_takes(tmp_path: Path) -> None:
    path = lenet_file(tmp_path / "colour.pth", channels=3)
    backbone = resolve("lenet5", weights=str(path), channels=1)
    assert (backbone.preprocess.channels, backbone.options) == (3, {"channels": 3})


def test_other_classes_leave_the_classifier_out_and_say_so(tmp_path: Path) -> None:
    path = lenet_file(tmp_path / "seven.pth", num_classes=7)
    backbone = resolve("lenet5", weights=str(path))
    assert backbone.left_out == ("fc3",)
    assert "fc3" in backbone.notes[0]
    network = Network(backbone, (1, 32, 32))
    assert network.columns(LayerSpec("relu4")) == 84
    with pytest.raises(OptionError, match="'fc3' has no weights"):
        network.columns(LayerSpec("fc3"))


def test_another_networks_file_names_the_keys(tmp_path: Path) -> None:
    path = lenet_file(tmp_path / "lenet.pth")
    with pytest.raises(WeightsError, match=r"made for another network.* is missing"):
        resolve("resnet18", weights=str(path))


def test_vision_transformer_is_built_for_its_weights_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(name: str, options: dict[str, int]) -> VisionTransformer:
        return VisionTransformer(options["image_size"], int(name[-2:]), 1, 2, 16, 32)

    monkeypatch.setattr(torchvision_models, "build", small)
    torch.save(small("vit_b_16", {"image_size": 96}).state_dict(), tmp_path / "vit.pth")
    backbone = resolve("vit_b_16", weights=str(tmp_path / "vit.pth"))
    assert (backbone.preprocess.resize, backbone.preprocess.crop) == (96, 96)
    assert Traced(backbone.module()).describe((3, 96, 96))["encoder.ln"].shape == (37, 16)
    assert resolve("vit_h_14", weights="random:0").options == {"image_size": 518}


@pytest.mark.parametrize(("size", "wanted"), [(None, (256, 224)), (64, (64, 64)), (500, (500, 500))])
def test_size_replaces_resize_and_crop(size: int | None, wanted: tuple[int, int]) -> None:
    spec = resolve("alexnet", weights="random:0", size=size).preprocess
    assert (spec.resize, spec.crop) == wanted


def test_mean_and_std_spread_over_the_channels() -> None:
    plain = resolve("lenet5", weights="random:0", channels=3)
    assert plain.preprocess.mean == IMAGENET_MEAN
    grey = resolve("lenet5", weights="random:0", channels=3, mean=[0.5], std=[0.25, 0.5, 1.0])
    assert grey.preprocess.mean == (0.5, 0.5, 0.5)
    assert grey.preprocess.std == (0.25, 0.5, 1.0)
    with pytest.raises(OptionError, match="2 "):
        resolve("lenet5", weights="random:0", channels=3, mean=[0.5, 0.5])


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": -1}, {"size": 10**6}, {"std": [0.0]}])
def test_impossible_values_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        resolve("lenet5", weights="random:0", **wrong)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_left_as_they_are(channels: int) -> None:
    backbone = resolve("pixels", channels=channels)
    assert (backbone.preprocess.resize, backbone.preprocess.crop) == (None, None)
    assert backbone.preprocess.mean == (0.0,) * channels
    assert isinstance(backbone.module(), nn.Module)
    assert resolve("pixels", size=16).preprocess.crop == 16


SECOND_CALL = """
import sys
from featx.models.backbones import resolve
from featx.cache.memo import Memo
from pathlib import Path
print(resolve("lenet5", weights=sys.argv[1], memo=Memo(Path(sys.argv[2]))).weights_sha256, "torch" in sys.modules)
"""


def ask(weights: str, home: Path, **how: Any) -> list[str]:
    command = [sys.executable, "-c", SECOND_CALL, weights, str(home)]
    return subprocess.run(command, check=True, capture_output=True, text=True, **how).stdout.split()


@pytest.mark.usefixtures("settled")
def test_second_look_needs_no_torch(tmp_path: Path) -> None:
    path = str(lenet_file(tmp_path / "a.pth"))
    for weights in ("random:0", path):
        first = resolve("lenet5", weights=weights, memo=Memo(tmp_path / "home"))
        assert ask(weights, tmp_path / "home", cwd=Path.cwd()) == [first.weights_sha256, "False"]


@pytest.mark.usefixtures("settled")
def test_remembered_backbone_equals_the_looked_at(tmp_path: Path) -> None:
    memo, path = Memo(tmp_path / "home"), str(lenet_file(tmp_path / "a.pth", num_classes=7))
    assert resolve("lenet5", weights=path, memo=memo) == resolve("lenet5", weights=path, memo=memo)


@pytest.mark.usefixtures("settled")
def test_changed_weights_file_is_noticed(tmp_path: Path) -> None:
    memo, path = Memo(tmp_path / "home"), lenet_file(tmp_path / "a.safetensors")
    times = path.stat()
    before = resolve("lenet5", weights=str(path), memo=memo)
    lenet_file(path, seed=1)  # as long as before, and with its old time put back
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = resolve("lenet5", weights=str(path), memo=memo)
    assert after.weights_sha256 != before.weights_sha256
    with pytest.raises(WeightsError, match="changed while featx was running"):
        before.module()


def test_file_too_young_to_tell_its_changes_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lenet_file(tmp_path / "a.pth")
    monkeypatch.setattr("featx.core.file_stamps.SETTLED_SECONDS", 3600.0)
    resolve("lenet5", weights=str(path), memo=Memo(tmp_path / "home"))
    assert not list((tmp_path / "home").rglob("backbone-*"))


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("name", ["w.pth", "weights-without-suffix"])
def test_relative_file_is_that_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    memo, found = Memo(tmp_path / "home"), []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        lenet_file(folder / name, seed=seed)
        monkeypatch.chdir(folder)
        found.append(resolve("lenet5", weights=name, memo=memo).weights_sha256)
    assert found[0] != found[1]
