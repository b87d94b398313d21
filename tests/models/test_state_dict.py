"""Weights from strangers: torch.hub's cache, local files in every wrapping, and files that must be refused."""

from __future__ import annotations

import hashlib
import io
import pickle
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from featx.core.http import DOWNLOAD_SECONDS
from featx.errors import OptionError, WeightsError
from featx.models import state_dict, torchvision_models
from featx.models.built_in_networks import LeNet5


@pytest.fixture
def lenet() -> nn.Module:
    return LeNet5()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty torch.hub cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@dataclass
class Published:
    """As much of torchvision's enum as `fetch` looks at."""

    url: str


def published_file(folder: Path, data: bytes) -> Published:
    name = f"lenet5-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(data)
    return Published(f"https://download.example.org/models/{name}")


@pytest.mark.parametrize("asked", ["DEFAULT", "IMAGENET1K_V2", "ResNet50_Weights.IMAGENET1K_V2"])
def test_published_weights_by_each_of_their_names(asked: str) -> None:
    assert str(state_dict.published("resnet50", asked)) == "ResNet50_Weights.IMAGENET1K_V2"


@pytest.mark.parametrize(
    ("asked", "hint"),
    [("IMAGENET1K_V3", "IMAGENET1K_V"), ("defualt", ".pth"), ("ResNet18_Weights.IMAGENET1K_V1", ""), ("", "")],
)
def test_unknown_published_weights_are_told_the_known(asked: str, hint: str) -> None:
    with pytest.raises(OptionError, match="expected IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT, random:SEED or a file") as e:
        state_dict.published("resnet50", asked)
    assert hint in e.value.hint


def test_cached_file_with_the_right_digest_is_used(hub: Path) -> None:
    enum = published_file(hub, b"weights")
    assert state_dict.fetch(enum) == hub / enum.url.rsplit("/", 1)[1]


def test_cached_file_with_a_wrong_digest_is_refused(hub: Path) -> None:
    enum = published_file(hub, b"weights")
    path = state_dict.fetch(enum)
    path.write_bytes(b"weightz")
    with pytest.raises(WeightsError, match="damaged") as caught:
        state_dict.fetch(enum)
    assert str(path) in caught.value.message
    assert "delete it" in caught.value.hint


def test_absent_file_without_a_network_names_file_and_folder(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float | None] = []

    def no_network(request: Any, *, timeout: float) -> None:
        waited.append(timeout)
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    with pytest.raises(WeightsError, match=r"lenet5-00000000\.pth") as caught:
        state_dict.fetch(Published("https://download.example.org/models/lenet5-00000000.pth"))
    assert str(hub) in caught.value.message
    assert "Name or service not known" in caught.value.message
    assert "https://download.example.org/models/lenet5-00000000.pth" in caught.value.hint
    assert "random:0" in caught.value.hint
    assert "\n" not in str(caught.value)
    assert waited == [DOWNLOAD_SECONDS]  # a silent server is not waited for without end
    assert socket.getdefaulttimeout() is None


class Answer(io.BytesIO):
    """What a server sends."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.headers = {"Content-Length": str(len(content))}


def test_downloaded_file_is_kept_where_its_digest_is_right(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enum = published_file(hub, b"weights")
    path = state_dict.fetch(enum)
    path.unlink()
    monkeypatch.setattr(urllib.request, "urlopen", lambda *asked, **how: Answer(b"weights"))
    assert state_dict.fetch(enum) == path
    assert path.read_bytes() == b"weights"


def test_downloaded_file_is_checked_too(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *asked, **how: Answer(b"<html>Please log in</html>"))
    with pytest.raises(WeightsError, match="could not be downloaded: what the server sent has sha256") as caught:
        state_dict.fetch(Published("https://download.example.org/models/lenet5-00000000.pth"))
    assert "https://download.example.org/models/lenet5-00000000.pth" in caught.value.hint
    assert list(hub.iterdir()) == []


def test_folder_that_cannot_be_written_is_told_with_the_file(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.rmdir()
    hub.write_bytes(b"no folder")
    monkeypatch.setattr(urllib.request, "urlopen", lambda *asked, **how: Answer(b"weights"))
    with pytest.raises(WeightsError, match=r"could not be downloaded: .*exists") as caught:
        state_dict.fetch(Published("https://download.example.org/models/lenet5-00000000.pth"))
    assert str(hub) in caught.value.message


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> bool:
    return set(found) == set(wanted) and all(torch.equal(found[k], wanted[k]) for k in wanted)


def test_safetensors_and_torch_files_hold_the_same(tmp_path: Path, lenet: nn.Module) -> None:
    state = lenet.state_dict()
    torch.save(state, tmp_path / "a.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pth", "old.pth", "a.safetensors"):
        assert same(state_dict.read_state(tmp_path / name), state)


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "model_ema"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "backbone.", "model.backbone."]
)
def test_wrappings_of_training_scripts_are_taken_off(
    tmp_path: Path, lenet: nn.Module, wrapper: str, prefix: str
) -> None:
    state = lenet.state_dict()
    saved = {wrapper: {prefix + key: value for key, value in state.items()}, "epoch": 7, "optimizer": {"lr": 0.1}}
    torch.save(saved, tmp_path / "a.pth")
    assert same(state_dict.read_state(tmp_path / "a.pth"), state)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "backbone.", "model.", "module.backbone."])
@pytest.mark.parametrize("beside", [{"epoch": 7}, {"head.weight": torch.zeros(3)}, {"module.queue": torch.zeros(3)}])
def test_whole_network_behind_a_prefix_is_found_among_other_things(
    tmp_path: Path, lenet: nn.Module, prefix: str, beside: dict[str, Any]
) -> None:
    state = lenet.state_dict()
    torch.save({prefix + key: value for key, value in state.items()} | beside, tmp_path / "a.pth")
    found = state_dict.read_state(tmp_path / "a.pth", lambda: set(state))
    assert same({k: v for k, v in found.items() if k != "queue"}, state)


def test_part_of_a_network_behind_a_prefix_is_left_as_it_is(tmp_path: Path, lenet: nn.Module) -> None:
    saved = {"backbone." + key: value for key, value in lenet.state_dict().items() if key != "conv1.bias"}
    saved["head.weight"] = torch.zeros(3)
    torch.save(saved, tmp_path / "a.pth")
    assert same(state_dict.read_state(tmp_path / "a.pth", lambda: set(lenet.state_dict())), saved)


def test_prefix_that_is_the_networks_own_is_kept(tmp_path: Path, lenet: nn.Module) -> None:
    state = nn.ModuleDict({"model": lenet}).state_dict()
    torch.save({"module." + key: value for key, value in state.items()}, tmp_path / "a.pth")
    assert same(state_dict.read_state(tmp_path / "a.pth", lambda: set(state)), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_half_precision_file_loads_as_float32(
    tmp_path: Path, lenet: nn.Module, dtype: torch.dtype, suffix: str
) -> None:
    half = {key: value.to(dtype) for key, value in lenet.state_dict().items()}
    save = torch.save if suffix == ".pth" else safetensors.torch.save_file
    save(half, tmp_path / f"half{suffix}")
    fresh = LeNet5()
    assert state_dict.load_into(fresh, state_dict.read_state(tmp_path / f"half{suffix}"), "fc3", "half") == ()
    assert same(fresh.state_dict(), {key: value.float() for key, value in half.items()})


class Payload:
    """What a hostile file asks the reader to do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["torch", "old torch", "bare pickle"])
def test_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path, lenet: nn.Module, kind: str) -> None:
    mark, path = tmp_path / "it-ran", tmp_path / "evil.pth"
    saved = {**lenet.state_dict(), "extra": Payload(mark)}
    if kind == "bare pickle":
        path.write_bytes(pickle.dumps(saved))
    else:
        torch.save(saved, path, _use_new_zipfile_serialization=kind == "torch")
    with pytest.raises(WeightsError, match=r"evil\.pth") as caught:
        state_dict.read_state(path)
    assert not mark.exists()
    assert "\n" not in str(caught.value)
    torch.load(path, weights_only=False) if kind != "bare pickle" else pickle.loads(path.read_bytes())
    assert mark.exists()  # the file is as evil as it looks


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 10, 5000, -1])
def test_truncated_file_is_refused(tmp_path: Path, lenet: nn.Module, suffix: str, keep: int) -> None:
    path = tmp_path / f"cut{suffix}"
    if suffix == ".pth":
        torch.save(lenet.state_dict(), path)
    else:
        safetensors.torch.save_file(lenet.state_dict(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="cut") as caught:
        state_dict.read_state(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, {1: torch.zeros(1)}, {"state_dict": {}}, torch.zeros(3)])
def test_file_without_named_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="expected tensors by name"):
        state_dict.read_state(tmp_path / "a.pth")


def test_whole_saved_module_is_refused(tmp_path: Path, lenet: nn.Module) -> None:
    torch.save(lenet, tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=r"model\.pth") as caught:
        state_dict.read_state(tmp_path / "model.pth")
    assert "state_dict()" in caught.value.hint


def test_another_networks_weights_name_the_keys() -> None:
    state = torchvision_models.build("alexnet", {}).state_dict()
    with pytest.raises(WeightsError, match=r"mine\.pth is made for another network") as caught:
        state_dict.load_into(LeNet5(), state, "fc3", "mine.pth")
    assert "conv1.bias is missing" in caught.value.message
    assert "and 21 more" in caught.value.message


def test_wrong_shape_before_the_classifier_is_refused(lenet: nn.Module) -> None:
    state = {**lenet.state_dict(), "fc1.weight": torch.zeros(120, 100)}
    with pytest.raises(WeightsError, match=r"fc1\.weight is \(120, 100\), expected \(120, 400\)"):
        state_dict.load_into(lenet, state, "fc3", "mine.pth")


def test_mistyped_names_are_told_the_right_ones_and_the_rest_is_counted() -> None:
    network = torchvision_models.build("resnet18", {})
    state = network.state_dict()
    state["layer1.0.conv1.weigth"] = state.pop("layer1.0.conv1.weight")
    with pytest.raises(WeightsError) as caught:
        state_dict.load_into(network, state, "fc", "mine.pth")
    told = "layer1.0.conv1.weigth is unknown, did you mean layer1.0.conv1.weight?"
    assert caught.value.message.endswith(f": {told}")
    odd = {f"{'x' * 30}{i}": torch.zeros(1) for i in range(5)}
    with pytest.raises(WeightsError) as caught:
        state_dict.load_into(network, state | odd, "fc", "mine.pth")
    assert told in caught.value.message
    assert caught.value.message.count("is unknown") == 3
    assert caught.value.message.endswith("and 3 more")


def test_unknown_tensor_is_refused(lenet: nn.Module) -> None:
    state = {**lenet.state_dict(), "fc4.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"fc4\.weight is unknown"):
        state_dict.load_into(lenet, state, "fc3", "mine.pth")


def test_classifier_of_other_classes_is_left_out(lenet: nn.Module) -> None:
    other = LeNet5(num_classes=3)
    assert state_dict.load_into(lenet, other.state_dict(), "fc3", "mine.pth") == ("fc3",)
    assert torch.equal(lenet.get_submodule("fc2").weight, other.get_submodule("fc2").weight)
    assert isinstance(lenet.get_submodule("fc3"), nn.Identity)


def test_old_files_without_batch_counts_load() -> None:
    network = torchvision_models.build("resnet18", {})
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert state_dict.load_into(network, state, "fc", "old.pth") == ()


def test_hash_is_of_names_types_shapes_and_values(lenet: nn.Module) -> None:
    before = state_dict.state_hash(lenet)
    assert state_dict.state_hash(LeNet5()) != before
    clone = LeNet5()
    clone.load_state_dict(lenet.state_dict())
    clone.to(memory_format=torch.channels_last)  # another order in memory, the same values
    assert state_dict.state_hash(clone) == before
    with torch.no_grad():
        clone.get_parameter("conv1.bias")[0] = -clone.get_parameter("conv1.bias")[0]
    assert state_dict.state_hash(clone) != before
    flat, wide = nn.ParameterDict({"w": torch.zeros(6)}), nn.ParameterDict({"w": torch.zeros(2, 3)})
    assert state_dict.state_hash(flat) != state_dict.state_hash(wide)
