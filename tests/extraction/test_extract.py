"""Images to features to store: the right values once, whatever was interrupted, broken or asked for before."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from featx.cache.store import FeatureStore
from featx.core.specs import ExtractConfig
from featx.data.arrays import ArraySource
from featx.data.sources import Source, load_source
from featx.errors import FeatureError, ImageError, OptionError
from featx.extraction.compute import compute
from featx.extraction.extract import ExtractResult, extract
from featx.extraction.forward import Forward, Network
from featx.models import torchvision_models
from featx.models.backbones import Backbone, resolve
from featx.models.built_in_networks import LeNet5

LENET = {"channels": 3, "weights": "random:0"}


def noise(n: int, px: int = 12, channels: int = 3) -> ArraySource:
    images = np.random.default_rng(3).integers(0, 256, (n, px, px, channels), np.uint8)
    return ArraySource(images, np.arange(n, dtype=np.int64) % 2, classes=("a", "b"))


def go(
    source: Source, layers: Sequence[str], home: Path, backbone: Backbone | None = None, **config: Any
) -> ExtractResult:
    """Extract on the CPU, by default through LeNet-5."""
    progress = config.pop("progress", lambda *_: None)
    settings = ExtractConfig(device="cpu", **{"workers": 1, "batch_size": 8, **config})
    network = backbone or resolve("lenet5", weights="random:0", channels=source.channels)
    return extract({"all": source}, network, layers, FeatureStore(home), settings, progress)


def X(result: ExtractResult, layer: str) -> Any:
    return np.asarray(result.tables["all", layer].X)


def shard_files(home: Path) -> dict[str, bytes]:
    """Every shard's name and bytes, by key and file."""
    return {str(path.relative_to(home)): path.read_bytes() for path in sorted(home.glob("features/*/shards/*.h5"))}


@pytest.fixture
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight rows a shard, or fewer where rows are long: then the layers' shards end at different rows."""
    monkeypatch.setattr("featx.cache.schema.SHARD_ROWS", (8, 65_536))
    monkeypatch.setattr("featx.cache.schema.SHARD_BYTES", 100_000)


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """ResNet-18 for 32 px whose batch norms do something."""
    torch.manual_seed(4)
    network = torchvision_models.build("resnet18", {"num_classes": 5})
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.normal_(std=0.3)  # type: ignore[union-attr, operator]
            norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(network.state_dict(), path)
    return resolve("resnet18", weights=str(path), size=32)


def test_layers_of_one_pass_equal_each_alone(tmp_path: Path, resnet18: Backbone) -> None:
    source, layers = noise(10, 32), ["layer1.0.bn2:avg", "conv1:avg", "layer4", "conv1:max"]
    together = go(source, layers, tmp_path / "together", resnet18)
    assert [line["layer"] for line in together.layers] == layers
    for layer in layers:
        alone = X(go(source, [layer], tmp_path / layer, resnet18), layer)
        assert np.abs(X(together, layer) - alone).max() < 1e-5 * np.abs(alone).max()


def test_same_features_without_a_store(tmp_path: Path) -> None:
    source, config = noise(10), ExtractConfig(device="cpu", batch_size=8, workers=1)
    found = compute(source, resolve("lenet5", **LENET), ["conv2:avg", "fc1"], config)
    stored = go(source, ["conv2:avg", "fc1"], tmp_path)
    for layer, values in found.items():
        np.testing.assert_array_equal(values, X(stored, layer))


class ExplodedError(Exception):
    """Something was computed that was there already."""


def explode(*_: Any, **__: Any) -> Any:
    raise ExplodedError


def test_second_extraction_computes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = noise(10)
    first = go(source, ["conv2:avg", "fc1"], tmp_path)
    assert [line["computed"] for line in first.layers] == [10, 10]
    assert first.images_per_second is not None
    for owner, name in ((Forward, "__init__"), (Network, "__init__"), (ArraySource, "__getitem__")):
        monkeypatch.setattr(owner, name, explode)
    relabelled = ArraySource(source.images, 1 - source.labels, classes=("x", "y"))
    second = go(relabelled, ["fc1", "conv2:avg"], tmp_path, batch_size=3)
    assert [(line["computed"], line["reused"]) for line in second.layers] == [(0, 10), (0, 10)]
    assert (second.images_per_second, second.device) == (None, "")
    np.testing.assert_array_equal(X(second, "fc1"), X(first, "fc1"))
    np.testing.assert_array_equal(second.tables["all", "fc1"].y, 1 - source.labels)
    with pytest.raises(ExplodedError):
        go(source, ["fc2"], tmp_path)


def test_only_the_lacking_layer_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    begin = Forward.__init__

    def spy(self: Forward, network: Network, specs: Any, *rest: Any, **options: Any) -> None:
        asked.append([str(spec) for spec in specs])
        begin(self, network, specs, *rest, **options)

    monkeypatch.setattr(Forward, "__init__", spy)
    source = noise(10)
    go(source, ["conv1:avg"], tmp_path)
    both = go(source, ["conv1:avg", "conv2:avg"], tmp_path)
    assert asked == [["conv1:avg"], ["conv2:avg"]]
    assert [line["computed"] for line in both.layers] == [0, 10]


@pytest.mark.usefixtures("_small_shards")
def test_result_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    for workers in (1, 2, 5):
        go(noise(41), ["conv1", "fc1"], tmp_path / str(workers), workers=workers, batch_size=4)
    assert len(shard_files(tmp_path / "1")) > 6
    assert shard_files(tmp_path / "1") == shard_files(tmp_path / "2") == shard_files(tmp_path / "5")


def stop_after(images: int) -> Any:
    def progress(stage: str, done: int, total: int) -> None:
        if done >= images:
            raise KeyboardInterrupt

    return progress


@pytest.mark.usefixtures("_small_shards")
@pytest.mark.parametrize(
    ("layers", "change"),
    [
        (["conv1", "layer2:avg", "bn1:avg"], {}),
        (["layer2:avg"], {"batch_size": 3}),
        (["bn1:avg", "conv1"], {"batch_size": 64, "workers": 3}),
    ],
)
def test_interrupted_run_ends_in_the_bytes_of_an_uninterrupted(
    tmp_path: Path, resnet18: Backbone, monkeypatch: pytest.MonkeyPatch, layers: list[str], change: dict[str, Any]
) -> None:
    source, all_layers = noise(30, 32), ["conv1:avg", "layer2:avg", "bn1:avg", "conv1"]
    go(source, all_layers, tmp_path / "whole", resnet18, batch_size=7)
    with pytest.raises(KeyboardInterrupt):
        go(source, all_layers, tmp_path / "cut", resnet18, batch_size=7, progress=stop_after(15))
    before = shard_files(tmp_path / "cut")
    assert 0 < len(before) < len(shard_files(tmp_path / "whole"))
    sizes: list[int] = []
    run = Forward.__call__
    monkeypatch.setattr(Forward, "__call__", lambda self, pixels: sizes.append(len(pixels)) or run(self, pixels))
    resumed = go(source, layers, tmp_path / "cut", resnet18, **change)
    assert set(sizes) == {7, 1, 6}  # the first start's batches, whatever is asked now
    assert any(line["reused"] > 0 for line in resumed.layers)
    assert all(line["computed"] < 30 for line in resumed.layers)
    go(source, all_layers, tmp_path / "cut", resnet18, **change)
    assert shard_files(tmp_path / "cut") == shard_files(tmp_path / "whole")


@pytest.fixture
def photos(tmp_path: Path, fill: Any) -> Path:
    """Twenty images, of which the one in row 13 is cut short and the one in row 17 is empty."""
    folder: Path = fill(tmp_path / "photos", [f"a/{i:02}.png" for i in range(20)])
    (folder / "a/13.png").write_bytes((folder / "a/13.png").read_bytes()[:200])
    (folder / "a/17.png").write_bytes(b"")
    return folder


@pytest.mark.usefixtures("_small_shards")
@pytest.mark.parametrize("workers", [1, 3])
def test_bad_image_is_named_and_finished_shards_stay(tmp_path: Path, photos: Path, workers: int) -> None:
    source = load_source(photos)
    with pytest.raises(ImageError, match=r"a/13\.png"):
        go(source, ["fc1"], tmp_path / "home", workers=workers, batch_size=2)
    assert len(shard_files(tmp_path / "home")) == 1
    skipped = go(source, ["fc1"], tmp_path / "home", on_error="skip")
    assert (skipped.layers[0]["computed"], skipped.layers[0]["reused"]) == (12, 8)


@pytest.mark.usefixtures("_small_shards")
def test_skipped_images_leave_exact_rows_behind(tmp_path: Path, photos: Path) -> None:
    source = load_source(photos)
    result = go(source, ["fc1"], tmp_path / "home", on_error="skip", batch_size=3, workers=2)
    table, good = result.tables["all", "fc1"], [i for i in range(20) if i not in (13, 17)]
    assert table.rows.tolist() == good
    assert table.ids == [source.ids[i] for i in good]
    assert table.shape == (18, 120)
    assert [entry["id"] for entry in result.skipped] == ["a/13.png", "a/17.png"]
    assert "a/13.png" in result.skipped[0]["reason"]
    assert "is empty" in result.skipped[1]["reason"]
    clean = go(source.subset(np.array(good)), ["fc1"], tmp_path / "clean")
    np.testing.assert_allclose(X(result, "fc1"), X(clean, "fc1"), rtol=1e-5, atol=1e-6)
    with pytest.raises(ImageError, match="2 images were skipped"):
        go(source, ["fc1"], tmp_path / "home")


def test_no_readable_image_leaves_no_rows(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"no image")
    result = go(load_source(tmp_path / "bad"), ["fc1"], tmp_path / "home", on_error="skip")
    assert result.tables["all", "fc1"].shape == (0, 120)


def test_nan_weights_are_named_by_layer_and_image(tmp_path: Path) -> None:
    state = LeNet5(channels=3).state_dict()
    state["conv2.bias"][5] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    broken = resolve("lenet5", weights=str(tmp_path / "nan.pth"), channels=3)
    with pytest.raises(FeatureError, match=r"layer conv2:avg .* image 000000") as caught:
        go(noise(4), ["conv1:avg", "conv2:avg"], tmp_path / "home", broken)
    assert "weights" in caught.value.hint
    assert go(noise(4), ["conv1:avg"], tmp_path / "home", broken).layers[0]["rows"] == 4


def test_overflow_of_float16_says_so(tmp_path: Path) -> None:
    images = np.zeros((6, 4, 4, 3), np.uint8)
    images[4, 0, 0, 0] = 255
    bright = resolve("pixels", channels=3, std=[1e-5])
    with pytest.raises(FeatureError, match=r"layer pixels .* image 000004") as caught:
        go(ArraySource(images), ["pixels"], tmp_path, bright, dtype="float16")
    assert "dtype='float32'" in caught.value.hint
    assert X(go(ArraySource(images), ["pixels"], tmp_path, bright), "pixels").max() == pytest.approx(1e5)


def test_float16_is_stored_as_asked(tmp_path: Path) -> None:
    full, half = (go(noise(9), ["fc1"], tmp_path, dtype=d) for d in ("float32", "float16"))
    assert half.tables["all", "fc1"].dtype == np.float16
    np.testing.assert_array_equal(X(half, "fc1"), X(full, "fc1").astype(np.float16))


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_the_images_by_255(tmp_path: Path, channels: int) -> None:
    source = noise(9, 5, channels)
    result = go(source, ["pixels"], tmp_path, resolve("pixels", channels=channels))
    wanted = np.moveaxis(source.images.astype(np.float32) / 255, 3, 1).reshape(9, -1)
    np.testing.assert_array_equal(X(result, "pixels"), wanted)


def test_digits_are_64_pixels_and_three_channels_for_a_colour_network(tmp_path: Path, resnet18: Backbone) -> None:
    digits = load_source("digits", limit=20)
    assert X(go(digits, ["pixels"], tmp_path, resolve("pixels", channels=1)), "pixels").shape == (20, 64)
    grey = X(go(digits, ["layer1:avg"], tmp_path / "grey", resnet18), "layer1:avg")
    rgb = ArraySource(np.stack([np.repeat(digits[i][0], 3, axis=2) for i in range(20)]))
    np.testing.assert_array_equal(grey, X(go(rgb, ["layer1:avg"], tmp_path / "rgb", resnet18), "layer1:avg"))


@pytest.mark.parametrize("channels", [1, 3])
def test_lenet5_takes_grey_and_colour(tmp_path: Path, channels: int) -> None:
    result = go(noise(3, 20, channels), ["conv1:avg", "fc3"], tmp_path)
    assert [line["columns"] for line in result.layers] == [6, 10]


def test_limited_source_is_a_part_of_the_whole(tmp_path: Path) -> None:
    whole, part = load_source("digits"), load_source("digits", limit=30)
    rows = [list(whole.ids).index(name) for name in part.ids]
    everything = go(whole.subset(np.arange(max(rows) + 1)), ["conv1:avg"], tmp_path, batch_size=256)
    some = go(part, ["conv1:avg"], tmp_path)
    assert some.layers[0]["key"] != everything.layers[0]["key"]
    np.testing.assert_allclose(X(some, "conv1:avg"), X(everything, "conv1:avg")[rows], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layers", [["conv9"], ["conv1", "conv9"], ["conv1:avg", "fc1:avg2"], ["conv2:avg11"], []])
def test_impossible_layer_leaves_no_folder_behind(tmp_path: Path, layers: list[str]) -> None:
    with pytest.raises(OptionError) as caught:
        go(noise(3), layers, tmp_path / "home")
    assert not list((tmp_path / "home").rglob("*"))
    if "conv9" in layers:
        assert "did you mean conv" in caught.value.hint


def test_unknown_device_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cuda:99"):
        extract({"all": noise(3)}, resolve("lenet5", **LENET), ["fc1"], FeatureStore(tmp_path / "home"),
                ExtractConfig(device="cuda:99"))  # fmt: skip
    assert not list((tmp_path / "home").rglob("*"))


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"dtype": "float16"}])
def test_other_arithmetic_is_another_key(tmp_path: Path, change: dict[str, str]) -> None:
    plain, other = go(noise(3), ["fc1"], tmp_path), go(noise(3), ["fc1"], tmp_path, **change)
    assert other.layers[0]["computed"] == 3
    assert plain.layers[0]["key"] != other.layers[0]["key"]


def test_images_of_several_sizes_need_a_size(tmp_path: Path, fill: Any, png: Any) -> None:
    folder = fill(tmp_path / "mixed", ["a.png", "b.png"])
    (folder / "b.png").write_bytes(png(1, 20, 20))
    with pytest.raises(ImageError, match=r"b\.png has 20 x 20 px.*size="):
        go(load_source(folder), ["pixels"], tmp_path / "home", resolve("pixels"))
    sized = go(load_source(folder), ["pixels"], tmp_path / "home", resolve("pixels", size=8))
    assert sized.layers[0]["columns"] == 3 * 8 * 8


def test_real_weights_give_torchvisions_feature(tmp_path: Path, shared_data: Path) -> None:
    weights, archive = shared_data / "resnet18-tinyimagenet.pth", shared_data / "cifar10.zip"
    if not (weights.is_file() and archive.is_file()):
        pytest.skip(f"NO REAL DATA: {weights.name} and {archive.name} are not in {shared_data}")
    source = load_source(archive, "test", limit=10)
    backbone = resolve("resnet18", weights=str(weights), size=64)
    found = X(go(source, ["avgpool", "layer4:avg"], tmp_path, backbone), "avgpool")

    model = torchvision.models.resnet18(num_classes=200)
    model.load_state_dict(torch.load(weights))
    model.eval()
    pooled: list[torch.Tensor] = []
    model.avgpool.register_forward_hook(lambda m, args, out: pooled.append(out.flatten(1)))
    steps = torchvision.transforms.Compose(
        [
            torchvision.transforms.Resize(64),
            torchvision.transforms.CenterCrop(64),
            torchvision.transforms.ToTensor(),
            torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with zipfile.ZipFile(archive) as files, torch.no_grad():
        members = {name.split("/", 1)[1]: name for name in files.namelist()}
        for name in source.ids:
            data = files.read(members.get(name, name))
            model(steps(Image.open(io.BytesIO(data)).convert("RGB"))[None])
    wanted = torch.cat(pooled).numpy()
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_pattern_means_its_matches_in_the_networks_order(tmp_path: Path, resnet18: Backbone) -> None:
    found = go(noise(3, 32), ["flatten", "layer*:avg", "layer2:avg", "layer1.?:max"], tmp_path, resnet18)
    layers = ["flatten", *(f"layer{i}:avg" for i in (1, 2, 3, 4)), "layer1.0:max", "layer1.1:max"]
    assert [line["layer"] for line in found.layers] == layers
    plain = go(noise(3, 32), layers, tmp_path, resnet18)
    assert [line["key"] for line in plain.layers] == [line["key"] for line in found.layers]
    assert plain.images_per_second is None
    assert list(compute(noise(3, 32), resnet18, ["layer?:avg"], ExtractConfig(device="cpu"))) == layers[1:5]


def test_all_leaves_out_what_the_pooling_does_not_fit(tmp_path: Path) -> None:
    found = [line["layer"] for line in go(noise(3), ["all:avg2"], tmp_path).layers]
    assert found == [f"{name}:avg2" for name in ("conv1", "relu1", "pool1", "conv2", "relu2", "pool2")]
    assert len(go(noise(3), ["all"], tmp_path).layers) == 12


@pytest.mark.parametrize(("layer", "said"), [("layer*", r"no layer matches 'layer\*'"), ("fc*:avg2", "needs at least")])
def test_pattern_without_a_match_is_refused(tmp_path: Path, layer: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        go(noise(2), [layer], tmp_path)


SECOND = """
import sys
from pathlib import Path
import numpy as np
from featx.data.arrays import ArraySource
from featx.models.backbones import resolve
from featx.cache.memo import Memo
from featx.cache.store import FeatureStore
from featx.extraction.extract import extract
home = Path(sys.argv[1])
source = ArraySource(np.zeros((2, 12, 12, 3), np.uint8))
found = extract({"all": source}, resolve(sys.argv[2], weights="random:0", size=12, memo=Memo(home)), ["*:avg"],
                FeatureStore(home))
print(len(found.layers), "torch" in sys.modules)
"""


def test_second_extraction_by_pattern_needs_no_torch(tmp_path: Path) -> None:
    net = tmp_path / "net.py"
    net.write_text("from torch import nn\ndef make(): return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())\n")
    old = net.stat().st_mtime - 60
    os.utime(net, (old, old))
    time.sleep(max(0.0, net.stat().st_ctime + 2.1 - time.time()))  # until its times can tell a later write
    command = [sys.executable, "-c", SECOND, str(tmp_path / "home"), f"{net}:make"]
    said = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(2)]
    assert said == [["2", "True"], ["2", "False"]]
