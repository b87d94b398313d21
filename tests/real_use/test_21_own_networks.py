"""Networks of one's own: grey or many channels, stored devices, one size only, and graphs that cannot be traced."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from sklearn.pipeline import make_pipeline

from featx import EndToEndClassifier, FeatureExtractor, SoftmaxRegression
from featx.backbones import Backbone, resolve
from featx.cli.main import cli
from featx.errors import FeatureError, FeatxError, FeatxWarning, OptionError, SourceError
from featx.hooked import read_network
from featx.placing import placed
from featx.train_config import Mode

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::featx.errors.FeatxWarning"),
]

PX = 16
COLOURS = np.random.default_rng(0).integers(0, 256, (12, PX, PX, 3), np.uint8)
LABELS = np.arange(12) % 3

NETWORKS = """
from dataclasses import dataclass
import torch
from torch import nn

def convolution(channels):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

def grey(): return convolution(1)
def four(): return convolution(4)
def five(): return convolution(5)
def linear(): return nn.Sequential(nn.Flatten(), nn.Linear(16 * 16, 8), nn.Linear(8, 3))

class Repeats(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = convolution(3)
    def forward(self, x):
        return self.inner(x.repeat(1, 3, 1, 1))

class Stored(nn.Module):
    # Devices in every spelling; `cuda` where there is none must not matter.
    def __init__(self, device="cuda"):
        super().__init__()
        self.device = torch.device(device)
        self.device_name = device
        self.scale = torch.full((1,), 2.0)
        self.inner = convolution(3)
    def forward(self, x):
        x = x.to(self.device) * self.scale + torch.zeros(1, device=self.device)
        return self.inner(x.to(self.device_name))

class Asked(Stored):
    def forward(self, x):
        x = super().forward(x)
        return x if x.sum() > -1e9 else -x

class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2)
        self.drop = nn.Dropout()
        self.fc = nn.Linear(8, 5)
    def forward(self, x):
        y = self.bn(self.conv1(x))
        y += 1
        y = self.act(y)
        if y.sum() > -1e9:
            y = self.conv2(y)
        return self.fc(self.drop(y.mean((2, 3))))

@dataclass
class Output:
    logits: torch.Tensor
    last_hidden_state: torch.Tensor
    attentions: object = None

class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
    def forward(self, hidden_states, mask=None):
        return (self.norm(hidden_states + self.linear(hidden_states)), mask)

class Encoder(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.ModuleList([Layer(width) for _ in range(3)])
    def forward(self, x):
        states = ()
        for layer in self.layer:
            x, _ = layer(hidden_states=x)
            states += (x,)
        return {"last_hidden_state": x, "hidden_states": states}

class Embeddings(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.projection = nn.Conv2d(3, width, 4, 4)
    def forward(self, x):
        if x.shape[1] != 3:
            raise ValueError("3 channels, please")
        patches = self.projection(x).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], 1)

class Transformer(nn.Module):
    # As transformers.ViTForImageClassification is made.
    def __init__(self, width=8):
        super().__init__()
        self.embeddings = Embeddings(width)
        self.encoder = Encoder(width)
        self.layernorm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, 7)
    def forward(self, pixel_values):
        states = self.layernorm(self.encoder(self.embeddings(pixel_values))["last_hidden_state"])
        return Output(self.classifier(states[:, 0]), states)

class Two(nn.Module):
    # The first network takes another way for bright images, the second image decides for all.
    def __init__(self):
        super().__init__()
        self.dark, self.bright, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
    def forward(self, x):
        x = self.bright(x) if x.mean() > 1 else self.dark(x)
        return self.fc(x.mean((2, 3)))

class Breaks(Branching):
    def forward(self, x):
        if x.std() == 0:
            raise RuntimeError("no contrast")
        return super().forward(x)

class Item(Branching):
    def forward(self, x):
        x = self.conv1(x)
        return self.fc(self.conv2(x * x.max().item()).mean((2, 3)))

class Squashed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
    def forward(self, x):
        return torch.tanh(self.fc(self.conv(x).mean((2, 3)))) / 10

class Talks(Branching):
    def forward(self, x):
        print("hello")
        return super().forward(x)

class Nameless(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = convolution(3)
    def forward(self, x):
        y = self.inner(x)
        return {"one": y, "two": y[:, :2]} if y.sum() > -1e9 else y
"""

Own = Callable[[str], str]


@pytest.fixture
def own(tmp_path: Path) -> Own:
    path = tmp_path / "nets.py"
    path.write_text(NETWORKS)
    return lambda name: f"{path}:{name}"


def features(name: str, layers: Any, X: Any = COLOURS, **how: Any) -> Any:
    return FeatureExtractor(name, layers, size=PX, device="cpu", batch_size=5, **how).transform(X)


def as_given(backbone: Backbone, images: Any = COLOURS) -> torch.Tensor:
    """What the network is given: images of its size, scaled as the preprocessing says."""
    spec = backbone.preprocess
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return (x - torch.tensor(spec.mean)[:, None, None]) / torch.tensor(spec.std)[:, None, None]


# ---- channels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["grey", "Repeats", "linear"])
def test_network_of_one_channel_is_given_grey(own: Own, name: str) -> None:
    backbone = resolve(own(name), size=PX)
    assert (backbone.preprocess.channels, len(backbone.preprocess.mean)) == (1, 1)
    assert any("1 channel" in note for note in backbone.notes)
    by_pillow = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in COLOURS])
    with pytest.warns(FeatxWarning, match="takes 1 channel"):
        rows = features(own(name), "all")
    np.testing.assert_array_equal(rows, features(own(name), "all", by_pillow))
    with torch.no_grad():
        expected = backbone.module()(as_given(backbone, by_pillow[..., None]))
    np.testing.assert_allclose(rows[:, -3:], expected, rtol=1e-5, atol=1e-6)


def test_grey_is_part_of_the_key_and_of_the_command(own: Own, tmp_path: Path, pets: Path) -> None:
    wanted = ["extract", str(pets), "-b", own("grey"), "-l", "0:avg", "--size", "16", "--home", str(tmp_path), "--json"]
    done = CliRunner().invoke(cli, wanted)
    assert done.exit_code == 0, done.stderr
    assert "takes 1 channel" in done.stderr
    key = json.loads((Path(json.loads(done.stdout)["layers"][0]["path"]) / "key.json").read_text())
    assert key["preprocess"]["channels"] == 1


@pytest.mark.parametrize(("name", "channels"), [("five", 5), ("four", 4)])
def test_other_channels_are_those_of_an_array(own: Own, name: str, channels: int, tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (6, PX, PX, channels), np.uint8)
    backbone = resolve(own(name), size=PX)
    assert backbone.preprocess.mean == (0.0,) * channels
    with torch.no_grad():
        expected = backbone.module()(as_given(backbone, images))
    for X in (images, torch.from_numpy(images).permute(0, 3, 1, 2), list(images)):
        np.testing.assert_allclose(features(own(name), "4", X), expected, rtol=1e-5, atol=1e-6)
    np.save(tmp_path / "x.npy", images)
    np.testing.assert_allclose(features(own(name), "4", str(tmp_path / "x.npy")), expected, rtol=1e-5, atol=1e-6)
    model = EndToEndClassifier(own(name), mode="finetune", epochs=1, size=PX, device="cpu").fit(images, [0, 1, 2] * 2)
    assert model.predict(images).shape == (6,)


def test_channels_are_resized_one_by_one_as_colours_are(own: Own) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 30, 24, 3), np.uint8)
    many = np.concatenate([images, images[..., :2]], axis=3)
    views = {"crops": 5, "flip": True}
    three = FeatureExtractor("pixels", "pixels", size=8, **views).transform(images).reshape(3, 3, 8, 8)
    five = FeatureExtractor("pixels", "pixels", size=8, **views).transform(many).reshape(3, 5, 8, 8)
    np.testing.assert_array_equal(five[:, :3], three)
    np.testing.assert_array_equal(five[:, 3:], three[:, :2])


@pytest.mark.parametrize(
    ("name", "channels", "said"),
    [
        ("five", 3, r"have 3 channels, and the network takes 5 .*\(n, H, W, 5\)"),
        ("resnet18", 5, r"have 5 channels, and the network takes 3 .*choose"),
        ("lenet5", 5, "have 5 channels"),
        ("resnet18", 4, "transparency"),
        ("five", 4, "transparency"),
    ],
)
def test_channels_that_do_not_fit_are_refused_with_what_would(own: Own, name: str, channels: int, said: str) -> None:
    images = np.zeros((2, PX, PX, channels), np.uint8)
    with pytest.raises(SourceError, match=said):
        features(name if ":" in name or name[0] in "rl" else own(name), "all", images, weights="random:0")


def test_array_with_transparency_in_a_file_is_refused_by_a_network_of_colours(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, PX, PX, 4), np.uint8))
    with pytest.raises(SourceError, match=r"have 4 channels, and the network takes 3 .*x\[\.\.\., :3\]"):
        features("resnet18", "avgpool", str(tmp_path / "x.npy"), weights="random:0")


# ---- devices --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Stored", "Asked"])
def test_stored_devices_follow_the_network(own: Own, name: str) -> None:
    backbone = resolve(own(name), size=PX)
    with torch.no_grad():
        expected = backbone.module()(as_given(backbone))
    np.testing.assert_allclose(features(own(name), "inner.4"), expected, rtol=1e-5, atol=1e-6)
    modes: tuple[Mode, ...] = ("frozen", "finetune")
    for mode in modes:
        model = EndToEndClassifier(own(name), mode=mode, epochs=1, size=PX, device="cpu").fit(COLOURS, LABELS)
        assert np.isfinite(model.predict_proba(COLOURS)).all()


def test_placing_moves_what_a_network_remembers(own: Own) -> None:
    network: Any = placed(resolve(own("Stored")).module(), torch.device("meta"))
    assert (network.device, network.device_name, network.scale.device) == (torch.device("meta"), "meta", network.device)
    assert network(torch.empty(2, 3, PX, PX, device="meta")).device.type == "meta"


# ---- one size only --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_timms_networks_take_the_size(name: str) -> None:
    timm = pytest.importorskip("timm", reason="NO TIMM: pip install 'featx[timm]'")
    backbone = resolve(f"timm:{name}", weights="random:3", size=64)
    assert backbone.options == {"img_size": 64}
    torch.manual_seed(3)
    expected = timm.create_model(name, img_size=64).eval().forward_head  # it can be made so
    assert callable(expected)
    network = read_network(backbone.module())
    assert not network.describe((3, 64, 64)).unfit
    plain = resolve(f"timm:{name}", weights="random:3", size=224)
    assert plain.options == {}  # keys stay what they were
    assert resolve("timm:resnet10t", weights="random:3", size=64).options == {}


def test_timms_weights_are_resampled_to_the_size(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="NO TIMM: pip install 'featx[timm]'")
    original = timm.create_model("vit_tiny_patch16_224")
    torch.save(original.state_dict(), tmp_path / "vit.pth")
    network: Any = resolve("timm:vit_tiny_patch16_224", weights=str(tmp_path / "vit.pth"), size=64).module()
    assert network.pos_embed.shape == (1, 17, 192)
    torch.testing.assert_close(network.pos_embed[:, 0], original.pos_embed[:, 0].detach())
    torch.testing.assert_close(network.blocks[0].attn.qkv.weight, original.blocks[0].attn.qkv.weight.detach())


def test_runs_of_a_resized_network_predict(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="NO TIMM: pip install 'featx[timm]'")
    network = ["-b", "timm:vit_tiny_patch16_224", "--weights", "random:0", "--size", "32", "--home", str(tmp_path)]
    for command in (["fit", "-l", "blocks.0:cls"], ["train", "--mode", "frozen", "--epochs", "1"]):
        done = CliRunner().invoke(cli, [*command, "digits", "--limit", "60", *network, "--json"])
        assert done.exit_code == 0, done.stderr
        run = json.loads(done.stdout)["run"]
        done = CliRunner().invoke(cli, ["predict", run, "digits", "--home", str(tmp_path), "--quiet"])
        assert done.exit_code == 0, done.stderr


# ---- what cannot be traced ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Branching", "Transformer", "Asked"])
def test_modules_are_read_by_hooks_with_a_note(own: Own, name: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["layers", own(name), "--size", "16", "--json", "--home", str(tmp_path)])
    assert done.exit_code == 0, done.stderr
    assert f"{name} cannot be traced by torch.fx: its modules are read by hooks" in done.stderr
    assert json.loads(done.stdout)["default_layer"]
    with pytest.warns(FeatxWarning, match="read by hooks"):
        features(own(name), "all:avg")


def test_what_a_network_prints_is_no_result(own: Own, tmp_path: Path) -> None:
    wanted = ["digits", "-b", own("Talks"), "-l", "bn:avg", "--size", "16", "--limit", "20", "--home", str(tmp_path)]
    done = CliRunner().invoke(cli, ["extract", *wanted, "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["layers"][0]["rows"] == 20
    assert "hello" in done.stderr


def test_what_is_read_is_what_the_module_gave(own: Own) -> None:
    backbone = resolve(own("Branching"), size=PX)
    network: Any = backbone.module()
    with torch.no_grad():
        before = network.bn(network.conv1(as_given(backbone)))
        pooled = network.conv2(torch.relu(before + 1)).mean((2, 3))
    # `y += 1` and the in-place ReLU come after the norm.
    np.testing.assert_array_equal(features(own("Branching"), "bn"), before.flatten(1))
    np.testing.assert_array_equal(features(own("Branching"), "act"), torch.relu(before + 1).flatten(1))
    several = features(own("Branching"), ["act:avg", "bn:avg", "drop.input"])
    np.testing.assert_allclose(several[:, 6:12], before.mean((2, 3)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(several[:, 12:], pooled, rtol=1e-5, atol=1e-6)


def test_values_in_tuples_dictionaries_and_dataclasses_have_names(own: Own) -> None:
    backbone = resolve(own("Transformer"), size=PX)
    network: Any = backbone.module()
    with torch.no_grad():
        states = network.encoder(network.embeddings(as_given(backbone)))
        whole = network(as_given(backbone))
    expected = {
        "encoder:cls": states["last_hidden_state"][:, 0],
        "encoder.layer.1:cls": states["hidden_states"][1][:, 0],
        "encoder.hidden_states.0": states["hidden_states"][0].flatten(1),
        "encoder.layer:avg": states["last_hidden_state"].mean(1),
        "output.logits": whole.logits,
        "classifier.input": whole.last_hidden_state[:, 0],
    }
    for layer, values in expected.items():
        np.testing.assert_allclose(features(own("Transformer"), layer), values, rtol=1e-4, atol=1e-5)
    with pytest.raises(OptionError, match="class token"):
        features(own("Transformer"), "embeddings.projection:cls")
    with pytest.raises(OptionError, match=r"encoder\.layer\.2"):
        features(own("Transformer"), "encoder.layer.22")


def test_layouts_and_default_layer_are_found(own: Own) -> None:
    network = read_network(resolve(own("Transformer"), size=PX).module())
    nodes = network.describe((3, PX, PX))
    assert {name: nodes[name].layout for name in ("embeddings.projection", "encoder", "classifier")} == {
        "embeddings.projection": "NCHW",
        "encoder": "NLC",
        "classifier": "NC",
    }
    assert nodes["encoder"].class_token
    assert not nodes["embeddings.projection"].class_token
    assert str(network.default("classifier", nodes)) == "classifier.input"
    assert nodes["embeddings.projection"].macs == 3 * 4 * 4 * 8 * 16
    branching = read_network(resolve(own("Branching"), size=PX).module())
    nodes = branching.describe((3, PX, PX))
    assert str(branching.default("fc", nodes)) == "drop.input"  # dropout and flattening are looked through
    assert branching.base("fc", nodes) == "conv2"


@pytest.mark.parametrize("name", ["Branching", "Breaks"])
def test_hooks_are_gone_after_all_that_happens(own: Own, name: str) -> None:
    network = resolve(own(name), size=PX).module()
    readable = read_network(network)
    nodes = readable.describe((3, PX, PX))
    flags = [parameter.requires_grad for parameter in network.parameters()]
    short = readable.cut([_spec("bn"), _spec("drop.input")], nodes)
    short(torch.randn(2, 3, PX, PX))
    if name == "Breaks":
        with pytest.raises(RuntimeError, match="no contrast"):
            short(torch.zeros(2, 3, PX, PX))
    with pytest.raises(OptionError, match="cannot take"):
        readable.describe((4, PX, PX))
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]
    assert not any(hooks)
    assert [parameter.requires_grad for parameter in network.parameters()] == flags


def _spec(text: str) -> Any:
    from featx.specs import LayerSpec

    return LayerSpec.parse(text)


def test_layer_that_did_not_run_is_no_row_of_another(own: Own) -> None:
    dark, bright = np.zeros((2, PX, PX, 3), np.uint8), np.full((2, PX, PX, 3), 255, np.uint8)
    assert features(own("Two"), "dark:avg", dark).shape == (2, 4)
    with pytest.raises(FeatureError, match=r"dark:avg was not run once an image"):
        features(own("Two"), "dark:avg", bright)
    assert features(own("Two"), "fc.input", bright).shape == (2, 4)


def test_graph_that_asks_for_values_is_measured_with_some(own: Own) -> None:
    backbone = resolve(own("Item"), size=PX)
    assert not backbone.notes  # it can be traced
    network: Any = backbone.module()
    x = as_given(backbone)[:5]  # a batch
    with torch.no_grad():
        expected = network(x)
    np.testing.assert_allclose(features(own("Item"), "fc", COLOURS[:5]), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["Branching", "Transformer"])
@pytest.mark.parametrize(
    ("how", "trained"),
    [
        ({"mode": "frozen"}, {"fc", "classifier"}),
        ({"mode": "frozen", "head": "mlp:4"}, {"fc", "classifier"}),
        ({"mode": "finetune"}, None),
        ({"mode": "scratch"}, None),
    ],
)
def test_training_changes_what_it_should(own: Own, name: str, how: dict[str, Any], trained: set[str] | None) -> None:
    model = EndToEndClassifier(own(name), epochs=2, size=PX, device="cpu", lr=0.05, **how).fit(COLOURS, LABELS)
    before = resolve(own(name), weights="random:0" if how["mode"] == "scratch" else "DEFAULT").module().state_dict()
    after = model.module_.state_dict()
    changed = {key.partition(".")[0] for key in before if key in after and not _equal(before[key], after[key])}
    assert changed | {"fc", "classifier"} == (
        trained or {key.partition(".")[0] for key in before} | {"fc", "classifier"}
    )
    assert model.predict_proba(COLOURS).shape == (12, 3)
    assert not any(len(module._forward_hooks) for module in model.module_.modules())


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def test_cached_features_of_a_frozen_base_are_the_networks_own(own: Own, tmp_path: Path) -> None:
    model = EndToEndClassifier(own("Transformer"), mode="frozen", epochs=1, size=PX, device="cpu", store=tmp_path)
    model.fit(COLOURS, LABELS)
    (entry,) = {entry.layer for entry in _entries(tmp_path)}
    assert entry == "classifier.input"
    probe = make_pipeline(FeatureExtractor(own("Transformer"), entry, size=PX, device="cpu"), SoftmaxRegression())
    assert probe.fit(COLOURS, LABELS).predict(COLOURS).shape == (12,)


def _entries(home: Path) -> Any:
    from featx import FeatureStore

    return FeatureStore(home).ls()


def test_what_comes_after_the_head_is_not_left_out(own: Own) -> None:
    model = EndToEndClassifier(own("Squashed"), mode="frozen", epochs=1, size=PX, device="cpu").fit(COLOURS, LABELS)
    # tanh / 10: were the head trained alone, its logits would not be the network's.
    assert np.abs(model.decision_function(COLOURS)).max() <= 0.1
    assert model.history_[-1]["val_loss"] == pytest.approx(np.log(3), abs=0.15)


def test_unfreezing_begins_at_a_block(own: Own) -> None:
    model = EndToEndClassifier(
        own("Transformer"), mode="finetune", unfreeze_from="encoder.layer.1", epochs=1, size=PX, device="cpu", lr=0.05
    ).fit(COLOURS, LABELS)
    learns = {name for name, parameter in model.module_.named_parameters() if parameter.requires_grad}
    expected = {
        name for name, _ in model.module_.named_parameters() if not name.startswith(("embeddings", "encoder.layer.0"))
    }
    assert learns == expected
    with pytest.raises(OptionError, match=r"no block 'encoder\.layr'"):
        EndToEndClassifier(
            own("Transformer"), mode="finetune", unfreeze_from="encoder.layr", size=PX, device="cpu"
        ).fit(COLOURS, LABELS)


def test_flat_head_stands_on_the_base(own: Own, tmp_path: Path) -> None:
    model = EndToEndClassifier(own("Branching"), mode="frozen", head="flat-linear", epochs=1, size=PX, device="cpu")
    model.fit(COLOURS, LABELS)
    assert model.parameters_["trainable"] == 3 * (8 * 7 * 7) + 3
    assert {name.partition(".")[0] for name in model.module_.state_dict()} == {"base", "head"}
    assert not [name for name in model.module_.state_dict() if name.startswith("base.fc")]
    wanted = ["-b", own("Branching"), "--size", "16", "--head", "flat-linear", "--mode", "finetune", "--epochs", "1"]
    done = CliRunner().invoke(cli, ["train", "digits", "--limit", "60", *wanted, "--home", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    for command in (["predict", run, "digits"], ["layers", f"run:{run}"]):
        done = CliRunner().invoke(cli, [*command, "--home", str(tmp_path), "--quiet"])
        assert done.exit_code == 0, done.stderr


def test_network_without_logits_says_what_it_returns(own: Own) -> None:
    model = EndToEndClassifier(own("Nameless"), mode="finetune", epochs=1, size=PX, device="cpu")
    assert model.fit(COLOURS, LABELS).predict(COLOURS).shape == (12,)  # only one of them has three columns
    with pytest.raises(FeatxError, match=r"returns one \(.*two .*expected logits of shape \(images, 2\)"):
        model.fit(COLOURS, LABELS == 0)
