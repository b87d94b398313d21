"""Networks of one's own: grey or many channels, stored devices, one size only, and graphs that cannot be traced."""

from __future__ import annotations

import json
import warnings
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
from featx.cli.main import cli
from featx.errors import FeatureError, FeatxError, FeatxWarning, OptionError, SourceError
from featx.graph.hooked import read_network
from featx.graph.placing import placed
from featx.models.backbones import Backbone, resolve
from featx.models.own_head import find_own_head
from featx.training.config import Mode

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

def normed(norm):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )

def of_the_batch(): return normed(nn.BatchNorm2d(4, track_running_stats=False))
def of_the_image(): return normed(nn.InstanceNorm2d(4))
def of_all(): return normed(nn.BatchNorm2d(4))

def scripted(): return torch.jit.script(convolution(3))
def partly_scripted():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), torch.jit.script(nn.ReLU()), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )

class BranchingScripted(Branching):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.jit.script(self.conv1)

class BranchingOnBatch(Branching):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(6, track_running_stats=False)
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
        ("resnet18", 5, r"have 5 channels, and the network takes 3 .*select"),
        ("lenet5", 5, "have 5 channels"),
        ("resnet18", 4, "alpha"),
        ("five", 4, "alpha"),
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
    expected, x = timm.create_model(name, img_size=64).eval(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone.module()(x), expected(x))
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
        done = CliRunner().invoke(cli, ["predict", run, "digits", "--limit", "60", "--home", str(tmp_path), "--quiet"])
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
    from featx.core.specs import LayerSpec

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


# ---- norms without running statistics -------------------------------------------------------------------------------


def test_batch_norm_without_running_statistics_is_not_folded_and_takes_the_batch(own: Own) -> None:
    backbone = resolve(own("of_the_batch"), size=PX)
    network: Any = backbone.module()
    with torch.no_grad():
        expected = torch.cat([network[:5](x) for x in as_given(backbone).split(5)])
        alone = torch.cat([network[:5](x) for x in as_given(backbone).split(1)])
    found = features(own("of_the_batch"), "4")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(found - alone.numpy()).max() > 0.01


@pytest.mark.filterwarnings("default::featx.errors.FeatxWarning")
@pytest.mark.parametrize(
    ("name", "at"), [("of_the_batch", "1"), ("BranchingOnBatch", "bn"), ("of_the_image", ""), ("of_all", "")]
)
def test_features_that_depend_on_their_batch_are_told_once(own: Own, name: str, at: str, tmp_path: Path) -> None:
    said = "features of an image depend on the others of its batch: BatchNorm without running statistics, at"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        features(own(name), "all:avg")
    assert [str(w.message) for w in caught if said in str(w.message)] == ([f"{said} {at}"] if at else [])
    wanted = ["digits", "-b", own(name), "-l", "all:avg", "--size", "16", "--limit", "5", "--home", str(tmp_path)]
    for _ in range(2):  # a network that is remembered too
        done = CliRunner().invoke(cli, ["extract", *wanted])
        assert done.exit_code == 0, done.stderr
        assert done.stderr.count(said) == bool(at)


def test_run_of_a_network_that_takes_its_batch_says_so(own: Own, tmp_path: Path) -> None:
    home = ["--home", str(tmp_path)]
    wanted = ["digits", "--limit", "60", "-b", own("of_the_batch"), "--size", "16", "--mode", "finetune"]
    done = CliRunner().invoke(cli, ["train", *wanted, "--epochs", "1", "--json", *home])
    assert done.exit_code == 0, done.stderr
    done = CliRunner().invoke(cli, ["layers", f"run:{json.loads(done.stdout)['run']}", *home])
    assert "depend on the others of its batch: BatchNorm without running statistics, at 1" in done.stderr


# ---- which layer is the head ----------------------------------------------------------------------------------------

HEADS = """
import torch
from torch import nn
from torch.nn import functional as F

class Base(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.fc = nn.Linear(8, 3)
        self.aux = nn.Linear(8, width)
    def forward(self, x):
        return self.give(torch.relu(self.conv(x)).mean((2, 3)))

def network(give, width=3, kind=Base):
    made = kind(width)
    made.give = lambda x: give(made, x)
    return made

def named(): return network(lambda m, x: {"logits": m.fc(x), "aux": m.aux(x)})
def narrow(): return network(lambda m, x: {"logits": m.fc(x), "aux": m.aux(x)}, 2)
def both(): return network(lambda m, x: (m.fc(x), m.aux(x)))
def nested(): return network(lambda m, x: {"o": {"logits": m.fc(x), "aux": m.aux(x)}})
def features(): return network(lambda m, x: (m.fc(x), m.aux(x)), 8)
def squashed(): return network(lambda m, x: {"logits": torch.tanh(m.fc(x)) / 10, "raw": m.fc(x), "aux": m.aux(x)})

def logarithm(): return network(lambda m, x: F.log_softmax(m.aux(x), 1))
def written(): return network(lambda m, x: m.aux(x).mul_(2))
def embedded(): return network(lambda m, x: (m.fc(x), m.aux(m.fc(x).repeat(1, 3)[:, :8])))
def nameless(): return network(lambda m, x: {"one": m.fc(x), "two": m.aux(x)})
def unused(): return network(lambda m, x: m.fc(x))
def by_weight(): return network(lambda m, x: F.linear(F.normalize(x), F.normalize(m.aux.weight)))

class Gated(Base):
    def __init__(self, width):
        super().__init__(width)
        self.last = nn.Conv2d(8, 3, 1)
def gated(): return network(lambda m, x: m.last((x * m.aux(x).sigmoid())[..., None, None]).flatten(1), 8, Gated)

def matrix(): return network(lambda m, x: torch.cat([m.fc(x), m.aux(x)], 1) @ torch.ones(6, 5))

class Fixed(nn.Module):
    def __init__(self, px):
        super().__init__()
        self.fc, self.aux = nn.Linear(3 * px * px, 3), nn.Linear(3 * px * px, 3)
        self.register_buffer("calls", torch.zeros(1))
    def forward(self, x):
        self.calls += 1
        return {"logits": self.fc(x.flatten(1)), "aux": self.aux(x.flatten(1)) + torch.randn(1)}

def of_16(): return Fixed(16)
def of_20(): return Fixed(20)
"""

MANY_LABELS = np.arange(60) % 3
MANY = np.random.default_rng(0).integers(0, 40, (60, PX, PX, 3), np.uint8)
MANY[np.arange(60), :, :, MANY_LABELS] += 150


@pytest.fixture
def heads(tmp_path: Path) -> Own:
    path = tmp_path / "heads.py"
    path.write_text(HEADS)
    return lambda name: f"{path}:{name}"


def frozen(name: str, **how: Any) -> EndToEndClassifier:
    return EndToEndClassifier(name, mode="frozen", epochs=10, device="cpu", **{"size": PX, "augment": "none"} | how)


@pytest.mark.parametrize("augment", ["none", "crop"])
@pytest.mark.parametrize("name", ["named", "narrow", "both", "nested", "features", "of_16"])
def test_what_is_scored_is_what_was_trained(heads: Own, name: str, augment: Any) -> None:
    model = frozen(heads(name), augment=augment).fit(MANY, MANY_LABELS)
    before, after = resolve(heads(name)).module().state_dict(), model.module_.state_dict()
    changed = {key.partition(".")[0] for key in before if not _equal(before[key], after[key])}
    assert changed - {"calls"} == {"fc"}
    assert model.history_[-1]["val_accuracy"] == model.score(MANY, MANY_LABELS) == 1


def test_of_several_outputs_the_scored_one_is_trained(heads: Own) -> None:
    model = frozen(heads("squashed")).fit(MANY, MANY_LABELS)
    assert np.abs(model.decision_function(MANY)).max() <= 0.1
    # The head's own output is returned beside it: learnt on that alone, the loss would be far lower.
    assert model.history_[-1]["val_loss"] == pytest.approx(np.log(3), abs=0.15)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("logarithm", "aux"),
        ("written", "aux"),
        ("embedded", "aux"),
        ("nameless", "aux"),
        ("by_weight", "aux"),
        ("unused", "fc"),
        ("gated", ""),
        ("matrix", ""),
    ],
)
def test_head_is_what_makes_the_logits(heads: Own, name: str, head: str) -> None:
    assert resolve(heads(name)).head == head


@pytest.mark.parametrize("name", ["gated", "matrix"])
def test_network_that_ends_in_no_linear_layer_is_refused_for_training_only(heads: Own, name: str) -> None:
    with pytest.raises(
        OptionError, match=rf"heads\.py:{name} has no classifier .*none of its layers fc, aux"
    ) as caught:
        frozen(heads(name)).fit(MANY, MANY_LABELS)
    assert "an nn.Linear whose output is the logits" in caught.value.hint
    assert features(heads(name), "conv:avg").shape == (12, 8)


def test_head_that_the_images_show_to_be_another_is_refused(heads: Own) -> None:
    # At no size that is tried can it run, so that its last linear layer is taken for the head.
    with pytest.raises(OptionError, match=r"logits of Fixed are not made by its aux \(it also has fc\)") as caught:
        frozen(heads("of_20"), size=20).fit(MANY, MANY_LABELS)
    assert "an nn.Linear whose output is the logits" in caught.value.hint


def test_two_outputs_of_one_shape_are_refused_before_training(heads: Own) -> None:
    with pytest.raises(OptionError, match=r"returns one \(.*two .*expected logits of shape \(images, 3\)"):
        frozen(heads("nameless")).fit(MANY, MANY_LABELS)
    model = frozen(heads("nameless")).fit(MANY, MANY_LABELS > 1)  # only one of them has two columns
    assert model.history_[-1]["val_accuracy"] == model.score(MANY, MANY_LABELS > 1)


def test_looking_for_the_head_changes_nothing(heads: Own) -> None:
    network: Any = resolve(heads("of_16")).module().train()
    network.fc.weight.requires_grad_(True)
    random, state = torch.get_rng_state(), {key: value.clone() for key, value in network.state_dict().items()}
    assert find_own_head(network) == "fc"
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert [name for name, parameter in network.named_parameters() if parameter.requires_grad] == ["fc.weight"]
    assert all(module.training and not module._forward_hooks for module in network.modules())


def test_run_of_a_network_with_two_heads_predicts(heads: Own, tmp_path: Path) -> None:
    np.savez(tmp_path / "many.npz", x=MANY, y=MANY_LABELS)
    images, home = str(tmp_path / "many.npz"), str(tmp_path / "home")
    wanted = ["-b", heads("named"), "--size", "16", "--mode", "frozen", "--epochs", "10", "--augment", "none"]
    done = CliRunner().invoke(cli, ["train", images, *wanted, "--home", home, "--json"])
    assert done.exit_code == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    done = CliRunner().invoke(cli, ["predict", run, images, "--home", home, "--json"])
    assert done.exit_code == 0, done.stderr
    assert [int(row["label"]) for row in json.loads(done.stdout)["predictions"]] == MANY_LABELS.tolist()


# ---- TorchScript ----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("scripted", "nets.py:scripted returned a network of TorchScript, expected a torch.nn.Module that Python runs"),
        ("BranchingScripted", "BranchingScripted is to be read by hooks, .* cannot have: conv1 .*before torch.jit"),
    ],
)
def test_torchscript_that_cannot_be_read_is_refused_in_words(own: Own, name: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        features(own(name), "all:avg")
    with pytest.raises(OptionError, match=said):
        EndToEndClassifier(own(name), mode="frozen", epochs=1, size=PX, device="cpu").fit(COLOURS, LABELS)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_torchscript_within_a_network_that_can_be_traced_stays_as_it_is(own: Own) -> None:
    network: Any = resolve(own("partly_scripted"), size=PX).module()
    with torch.no_grad():
        expected = network[:4](as_given(resolve(own("partly_scripted"), size=PX)))
    np.testing.assert_allclose(features(own("partly_scripted"), "3"), expected, rtol=1e-5, atol=1e-6)
