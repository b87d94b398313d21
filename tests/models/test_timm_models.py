"""timm's networks: names and tags, preprocessing as timm's own, weights from the hub's cache, default layers."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from lively import compare_default_layer
from PIL import Image

from featx.cache.memo import Memo
from featx.core.specs import ExtractConfig, LayerSpec
from featx.data.arrays import ArraySource
from featx.data.decoding import prepare
from featx.errors import OptionError, WeightsError
from featx.extraction.extract import feature_key
from featx.models.backbones import Backbone, resolve
from featx.training.end_to_end import EndToEndClassifier

timm = pytest.importorskip("timm", reason="NO TIMM: pip install 'featx[timm]'")

from featx.models import families, timm_models  # noqa: E402

SMALL = "timm:mobilenetv3_small_050"
FULL = "timm:mobilenetv3_small_050.lamb_in1k"
REPOSITORY = "models--timm--mobilenetv3_small_050.lamb_in1k"


def digest(backbone: Backbone) -> str:
    source = ArraySource(np.zeros((2, 8, 8, 3), np.uint8))
    return feature_key(source, backbone, LayerSpec("conv_stem"), ExtractConfig()).digest


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty."""
    folder = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    return folder


def put(hub: Path, state: dict[str, torch.Tensor], repository: str = REPOSITORY) -> Path:
    """Lay a file of weights into the hub's cache as its client does."""
    folder, commit = hub / repository, "0123456789abcdef0123456789abcdef01234567"
    for name in ("blobs", "refs", f"snapshots/{commit}"):
        (folder / name).mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    data = safetensors.torch.save(state)
    blob = folder / "blobs" / hashlib.sha256(data).hexdigest()
    blob.write_bytes(data)
    link = folder / "snapshots" / commit / "model.safetensors"
    link.symlink_to(Path("../..") / "blobs" / blob.name)
    return link


def drawn(name: str = SMALL, seed: int = 3, **options: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    state: dict[str, torch.Tensor] = timm.create_model(name.removeprefix("timm:"), **options).state_dict()
    return state


@pytest.mark.parametrize("name", [SMALL, FULL])
def test_both_spellings_are_one_network(name: str) -> None:
    backbone = resolve(name, weights="random:0")
    assert backbone.name == FULL
    assert digest(backbone) == digest(resolve(SMALL, weights="random:0"))
    assert (backbone.head, backbone.head_width) == ("classifier", 1024)


def test_alias_is_timms_network() -> None:
    assert resolve("mobilenet_v1", weights="random:0") == resolve("timm:mobilenetv1_100", weights="random:0")


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("timm:resnet81", "timm:resnet18"),
        ("timm:", ""),
        ("timm:hf-hub:timm/resnet18", ""),
        ("timm:resnet18.a1_in2k", "a1_in1k"),
        ("timm:resnet18\x1b[2J", ""),
    ],
)
def test_mistyped_name_or_tag_is_told_the_nearest(typed: str, hint: str) -> None:
    with pytest.raises(OptionError, match="timm") as caught:
        resolve(typed, weights="random:0")
    assert hint in caught.value.hint
    assert "\x1b" not in str(caught.value)


def test_absent_timm_is_told_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "timm":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(families, "version", version)
    with pytest.raises(OptionError, match="needs timm") as caught:
        resolve(SMALL, weights="random:0")
    assert caught.value.hint == "pip install 'featx[timm]'"
    assert families.versions("resnet18").keys() == {"featx", "torch", "torchvision"}


@pytest.mark.parametrize(
    "name",
    ["resnet18.a1_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "convnext_atto.d2_in1k", "csatv2.r512_in1k",
     "convnext_tiny.in12k_ft_in1k_384", "mobilenetv3_small_050.lamb_in1k"],
)  # fmt: skip
def test_pictures_are_prepared_as_timm_does(name: str) -> None:
    spec, said = timm_models.preset_of(f"timm:{name}")
    assert said == []
    config = timm.data.resolve_data_config(pretrained_cfg=timm.models.get_pretrained_cfg(name).to_dict())
    theirs = timm.data.create_transform(**config, is_training=False)
    for size in ((40, 61), (61, 40), (700, 500)):
        picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8))
        wanted = theirs(picture).numpy()
        ours = prepare(np.asarray(picture), spec, "drawn").astype(np.float32) / 255
        ours = ((ours - np.float32(spec.mean)) / np.float32(spec.std)).transpose(2, 0, 1)
        assert ours.shape == wanted.shape
        np.testing.assert_allclose(ours, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "said"),
    [("dm_nfnet_f0.dm_in1k", ["resizes to 213 px and cuts 192 px out"]), ("deepseek_vit_412m", ["mean colour"])],
)
def test_what_cannot_be_expressed_is_said(name: str, said: list[str]) -> None:
    notes = timm_models.preset_of(f"timm:{name}")[1]
    assert len(notes) == len(said)
    assert all(part in note for part, note in zip(said, notes, strict=True))


def test_input_that_is_not_square_is_refused() -> None:
    with pytest.raises(OptionError, match=r"3 x \d+ x \d+"):
        timm_models.preset_of(timm_models.full_name("timm:vit_5b_patch16_sapiens2"))


def test_weights_of_a_tag_are_found_in_the_hubs_cache(hub: Path) -> None:
    state = drawn()
    path = put(hub, state)
    backbone = resolve(SMALL)
    assert (backbone.file, backbone.left_out, backbone.notes) == (str(path), (), ())
    found = backbone.module().state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)
    assert digest(backbone) == digest(resolve(SMALL, weights=str(path)))
    assert backbone.preprocess == resolve(SMALL, weights="random:0").preprocess


def test_file_put_there_by_hand_as_the_hint_says_is_found(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.models.hub.reach", lambda url: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(WeightsError, match="no network") as caught:
        resolve(SMALL)
    for part in ("model.safetensors", "timm/mobilenetv3_small_050.lamb_in1k", str(hub)):
        assert part in caught.value.message
    url, path = caught.value.hint.removeprefix("put ").partition(",")[0].split(" at ")
    assert url.startswith("https://huggingface.co/timm/mobilenetv3_small_050.lamb_in1k/")
    Path(path).parent.mkdir(parents=True)
    safetensors.torch.save_file(drawn(), path)
    assert resolve(SMALL).file == path


def test_damaged_file_in_the_cache_is_refused(hub: Path) -> None:
    path = put(hub, drawn()).resolve()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match=f"damaged.*expected {path.name}"):
        resolve(SMALL)


def test_published_weights_under_other_names_are_loaded_as_timm_does(hub: Path) -> None:
    torch.manual_seed(4)
    network = timm.create_model("convnext_atto")
    # Facebook's names, which timm's converter knows.
    original = {}
    for key, value in network.state_dict().items():
        theirs = (
            key.replace("stem.", "downsample_layers.0.").replace("head.fc.", "head.").replace("head.norm.", "norm.")
        )
        theirs = theirs.replace(".conv_dw.", ".dwconv.").replace(".mlp.fc1.", ".pwconv1.")
        theirs = theirs.replace(".mlp.fc2.", ".pwconv2.").replace(".blocks.", ".")
        for stage in "123":
            theirs = theirs.replace(f"stages.{stage}.downsample.", f"downsample_layers.{stage}.")
        original[theirs] = value
    put(hub, original, "models--timm--convnext_atto.d2_in1k")
    found = resolve("timm:convnext_atto").module().state_dict()
    assert original.keys() != found.keys()
    assert all(torch.equal(found[key], value) for key, value in network.state_dict().items())


def test_published_weights_of_another_network_are_refused(hub: Path) -> None:
    put(hub, drawn("resnet18"))
    with pytest.raises(WeightsError, match="do not fit"):
        resolve(SMALL)


def test_own_file_leaves_another_classifier_out(tmp_path: Path) -> None:
    safetensors.torch.save_file(drawn(num_classes=7), tmp_path / "seven.safetensors")
    backbone = resolve(SMALL, weights=str(tmp_path / "seven.safetensors"))
    assert backbone.left_out == ("classifier",)


def test_network_without_published_weights_says_so() -> None:
    with pytest.raises(OptionError, match="no published weights") as caught:
        resolve("timm:mixer_s32_224")
    assert "random:0" in caught.value.hint


def test_weights_by_tag_are_part_of_the_name() -> None:
    with pytest.raises(OptionError, match="no weights 'a1_in1k'") as caught:
        resolve("timm:resnet18", weights="a1_in1k")
    assert "timm:resnet18.a1_in1k" in caught.value.hint


def test_memo_depends_on_timms_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memo = Memo(tmp_path)
    first = resolve(SMALL, weights="random:0", memo=memo)
    monkeypatch.setattr("featx.models.timm_models.inspect", lambda *_: pytest.fail("looked again"))
    assert resolve(SMALL, weights="random:0", memo=memo) == first
    monkeypatch.setattr(families, "version", lambda name: "99")
    with pytest.raises(pytest.fail.Exception, match="looked again"):
        resolve(SMALL, weights="random:0", memo=memo)


def test_distilled_network_has_features_and_no_single_head() -> None:
    backbone = resolve("timm:deit_tiny_distilled_patch16_224", weights="random:0")
    assert backbone.head == ""


@pytest.mark.usefixtures("one_thread")
def test_training_replaces_timms_classifier() -> None:
    X = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), np.uint8)
    y = np.arange(24) % 3
    model = EndToEndClassifier(SMALL, mode="scratch", epochs=1, batch_size=8, size=32, device="cpu").fit(X, y)
    assert model.module_.get_submodule("classifier").out_features == 3
    assert model.predict_proba(X[:2]).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "layer", "columns"),
    [
        (SMALL, "act2", 1024),
        ("timm:convnext_atto", "head.norm.permute_1", 320),
        ("timm:vit_tiny_patch16_224", "getitem_1", 192),
        ("timm:levit_128s", "head.bn", 384),
        ("timm:swin_tiny_patch4_window7_224", "head.global_pool.pool.mean", 768),
    ],
)
def test_default_layer_is_what_the_classifier_is_given(name: str, layer: str, columns: int) -> None:
    found = compare_default_layer(name)
    assert (found.layer, found.columns) == (layer, columns)
    assert found.difference < 1e-5
