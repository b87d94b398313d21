"""The cut network gives what the original gives: nodes, layouts, multiply-adds, folding, and where it stops."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Sequence

import pytest
import torch
from lively import compare_default_layer, lively
from torch import nn
from torch.nn import functional
from torchvision.models import SwinTransformer, VisionTransformer

from featx.core.specs import LayerSpec
from featx.errors import OptionError
from featx.extraction.forward import Network
from featx.graph.shapes import Nodes, _layout
from featx.graph.traced import Traced
from featx.models import parts, torchvision_models
from featx.models.backbones import resolve
from featx.models.built_in_networks import LeNet5
from featx.models.state_dict import state_hash

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return lively(torchvision_models.build("resnet18", {}))


def on_paper(name: str) -> nn.Module:
    with torch.device("meta"):
        return torchvision_models.build(name, {}).eval()


@functools.cache
def looked_at(module: nn.Module, shape: tuple[int, int, int]) -> tuple[Traced, Nodes]:
    traced = Traced(module)
    return traced, traced.describe(shape)


def run(module: nn.Module, images: torch.Tensor, layers: Sequence[str], keep: Sequence[str] = ()) -> State:
    """Return one (n, columns) tensor a layer, through a cut network."""
    traced, nodes = looked_at(module, (images.shape[1], images.shape[2], images.shape[3]))
    specs, kept = [[LayerSpec.parse(text) for text in texts] for texts in (layers, keep)]
    widths = [traced.columns(spec, nodes) for spec in specs]
    with torch.no_grad():
        rows = traced.cut(specs, nodes, kept)(images.clone())
    assert [r.shape for r in rows] == [(len(images), width) for width in widths]
    return dict(zip(layers, rows, strict=True))


def hooked(module: nn.Module, images: torch.Tensor, paths: Sequence[str]) -> State:
    """Return what modules give, by plain hooks that clone: nothing of featx takes part."""
    plain, seen = copy.deepcopy(module), {}
    for path in paths:
        keep = lambda m, args, out, path=path: seen.update({path: out.clone()})  # noqa: E731
        plain.get_submodule(path).register_forward_hook(keep)
    with torch.no_grad():
        plain(images.clone())
    return seen


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


def test_addition_in_place_does_not_reach_the_node_before_it(resnet18: nn.Module) -> None:
    images = torch.randn(2, 3, 64, 64)
    paths = ["layer1.0.bn2", "layer2.0.downsample.1", "layer3.1.bn2"]
    wanted = hooked(resnet18, images, paths)
    together = run(resnet18, images, paths)
    for path in paths:
        assert (wanted[path] < 0).any()  # no ReLU has run over it
        assert distance(together[path], wanted[path].flatten(1)) < 1e-5
        assert distance(run(resnet18, images, [path])[path], wanted[path].flatten(1)) < 1e-5


def test_graph_node_between_modules(resnet18: nn.Module) -> None:
    images = torch.randn(2, 3, 64, 64)
    rows = run(resnet18, images, ["layer2.1.add", "layer2.1.relu_1", "layer2"])
    assert torch.equal(rows["layer2.1.add"].relu(), rows["layer2.1.relu_1"])
    assert torch.equal(rows["layer2"], rows["layer2.1.relu_1"])
    assert (rows["layer2.1.add"] < 0).any()


class Awkward(nn.Module):
    """Everything that in-place operations, shared modules and folding can trip over."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(3, 3, 3, padding=1)
        self.norm1, self.norm2, self.norm3 = nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.BatchNorm2d(4)
        self.twice = nn.Conv2d(3, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm1(self.shared(x)), inplace=True)
        x = self.norm2(self.shared(x))  # one convolution, two norms: folding either would change the other
        y = self.twice(x)
        z = self.norm3(y) + y  # the convolution's own output is needed beside the norm's
        flat = z.flatten(2)
        flat = flat.mul_(2)  # changes z too, through the view
        out: torch.Tensor = self.fc(flat.mean(2))
        return out


def test_shared_and_twice_used_convolutions_are_not_folded() -> None:
    network = lively(Awkward())
    images = torch.randn(2, 3, 8, 8)
    paths = ["norm1", "norm2", "twice", "norm3", "fc"]
    wanted = hooked(network, images, paths)
    for path, rows in run(network, images, paths).items():
        assert distance(rows, wanted[path].flatten(1)) < 1e-6
    for path in paths:
        assert distance(run(network, images, [path])[path], wanted[path].flatten(1)) < 1e-6
    before = run(network, images, ["add"])["add"]
    both = run(network, images, ["add", "fc"])
    assert torch.equal(both["add"], before)


def norms_left(resnet18: nn.Module, layers: Sequence[str], keep: Sequence[str] = ()) -> set[str]:
    traced, nodes = looked_at(resnet18, (3, 64, 64))
    specs, kept = [[LayerSpec.parse(text) for text in texts] for texts in (layers, keep)]
    short = traced.cut(specs, nodes, kept)
    return {path for path, m in short.named_modules() if isinstance(m, nn.BatchNorm2d)}


def test_batch_norm_is_folded_unless_the_node_between_is_wanted(resnet18: nn.Module) -> None:
    assert norms_left(resnet18, ["avgpool"]) == set()
    assert norms_left(resnet18, ["bn1", "layer4"]) == set()  # a norm's own output is the folded convolution's
    assert norms_left(resnet18, ["conv1", "layer4"]) == {"bn1"}
    assert norms_left(resnet18, ["layer1.0.conv2:avg", "layer4"]) == {"layer1.0.bn2"}


def test_cutting_leaves_the_network_alone(resnet18: nn.Module) -> None:
    before, images = state_hash(resnet18), torch.randn(1, 3, 64, 64)
    logits = resnet18(images)
    run(resnet18, images, ["layer2", "fc"])
    assert state_hash(resnet18) == before
    assert torch.equal(resnet18(images), logits)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in resnet18.modules()) == 20


def test_resumed_pass_for_fewer_layers_gives_the_same_bytes(resnet18: nn.Module) -> None:
    images = torch.randn(2, 3, 64, 64)
    layers = ["conv1:avg", "layer1.0.conv1:avg", "layer3:avg"]
    together = run(resnet18, images, layers)
    for layer in layers:
        alone = run(resnet18, images, [layer], keep=layers)[layer]
        assert torch.equal(alone, together[layer])


def test_pass_stops_after_the_deepest_node() -> None:
    network, images, ran = torchvision_models.build("squeezenet1_1", {}).eval(), torch.randn(1, 3, 64, 64), []
    looked_at(network, (3, 64, 64))  # looking at it calls copies of its modules
    for path, child in network.named_modules():
        if not list(child.children()):
            child.register_forward_hook(lambda m, args, out, path=path: ran.append(path))
    run(network, images, ["features.3.squeeze:avg", "features.1:avg"])
    assert ran == ["features.0", "features.1", "features.2", "features.3.squeeze"]


@pytest.mark.parametrize(("name", "macs"), [("resnet18", 1.814e9), ("vit_b_16", 17.564e9), ("vgg16", 15.470e9)])
def test_multiply_adds_are_the_published_ones(name: str, macs: float) -> None:
    nodes = Traced(on_paper(name)).describe((3, 224, 224))
    assert next(reversed(nodes.values())).macs == pytest.approx(macs, rel=5e-4)


def test_multiply_adds_count_what_a_pass_to_that_node_needs() -> None:
    nodes = Traced(on_paper("resnet18")).describe((3, 224, 224))
    assert nodes["conv1"].macs == nodes["maxpool"].macs == 112 * 112 * 64 * 3 * 49
    shortcut = nodes["layer2.0.downsample.0"].macs - nodes["layer1"].macs
    assert shortcut == 28 * 28 * 64 * 128  # its own convolution only, not the block's two


def small(name: str) -> nn.Module:
    if name == "swin":
        return SwinTransformer([4, 4], 16, [2, 2], [2, 2], [7, 7])
    if name == "vit":
        return VisionTransformer(image_size=40, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)
    return torchvision_models.build(name, {})


@pytest.mark.parametrize(
    ("name", "px"), [("resnet18", 48), ("squeezenet1_1", 48), ("shufflenet_v2_x0_5", 40), ("swin", 40), ("vit", 40)]
)
def test_described_shapes_are_those_of_a_real_run(name: str, px: int) -> None:
    network = small(name).eval()
    nodes = looked_at(network, (3, px, px))[1]
    wanted = list(nodes)[:: max(1, len(nodes) // 40)]
    run(network, torch.randn(2, 3, px, px), wanted)  # asserts each row's length
    modules = dict(network.named_modules())
    paths = [p for p in nodes if p in modules and not isinstance(modules[p], nn.ReLU)]  # ResNet's run twice
    for path, value in hooked(network, torch.randn(1, 3, px, px), paths).items():
        assert tuple(value.shape[1:]) == nodes[path].shape, path


@pytest.mark.parametrize(
    ("name", "node", "shape", "layout"),
    [
        ("resnet18", "layer3", (256, 14, 14), "NCHW"),
        ("resnet18", "avgpool", (512, 1, 1), "NCHW"),
        ("resnet18", "flatten", (512,), "NC"),
        ("vgg16", "avgpool", (512, 7, 7), "NCHW"),
        ("swin_t", "features.1", (56, 56, 96), "NHWC"),
        ("swin_t", "norm", (7, 7, 768), "NHWC"),
        ("swin_t", "permute", (768, 7, 7), "NCHW"),
        ("convnext_tiny", "features.1.0.block.3", (56, 56, 384), "NHWC"),
        ("vit_b_16", "conv_proj", (768, 14, 14), "NCHW"),
        ("vit_b_16", "reshape", (768, 196), "NCL"),
        ("vit_b_16", "permute", (196, 768), "NLC"),
        ("vit_b_16", "encoder.layers.encoder_layer_3", (197, 768), "NLC"),
        ("vit_b_16", "heads", (1000,), "NC"),
    ],
)
def test_layouts(name: str, node: str, shape: tuple[int, ...], layout: str) -> None:
    info = Traced(on_paper(name)).describe((3, 224, 224))[node]
    assert (info.shape, info.layout) == (shape, layout)


def test_class_token_is_first_only_where_it_was_put_first() -> None:
    traced = Traced(on_paper("vit_b_16"))
    nodes = traced.describe((3, 224, 224))
    assert traced.columns(LayerSpec.parse("encoder.ln:cls"), nodes) == 768
    for node in ("permute", "reshape", "conv_proj", "heads"):
        with pytest.raises(OptionError, match="class token"):
            traced.columns(LayerSpec(node, "cls"), nodes)
    swin = Traced(on_paper("swin_t"))
    with pytest.raises(OptionError, match="class token"):
        swin.columns(LayerSpec("norm", "cls"), swin.describe((3, 224, 224)))


@pytest.mark.parametrize(
    ("name", "px"), [("googlenet", 8), ("inception_v3", 64), ("vit_b_16", 96), ("alexnet", 32), ("lenet5", 28)]
)
def test_size_that_does_not_fit_is_refused_in_one_line(name: str, px: int) -> None:
    options = {} if name not in ("googlenet", "inception_v3") else {"init_weights": False}
    with torch.device("meta"):
        network = LeNet5() if name == "lenet5" else torchvision_models.build(name, options)
    with pytest.raises(OptionError, match=f"cannot take {px} x {px} px") as caught:
        Traced(network.eval()).describe((1 if name == "lenet5" else 3, px, px))
    assert "size=" in caught.value.hint
    for noise in ("\n", "While executing", "Proxy", "num_users"):
        assert noise not in str(caught.value)


def test_unknown_layer_is_told_the_nearest(resnet18: nn.Module) -> None:
    with pytest.raises(OptionError, match="layer5") as caught:
        Traced(resnet18).node("layer5")
    assert "layer" in caught.value.hint


def test_node_that_is_no_tensor_is_refused() -> None:
    traced = Traced(on_paper("vit_b_16"))
    nodes = traced.describe((3, 224, 224))
    with pytest.raises(OptionError, match="no tensor"):  # attention gives a pair
        traced.columns(LayerSpec("encoder.layers.encoder_layer_0.self_attention"), nodes)


@pytest.mark.parametrize(
    ("name", "head", "lost", "last"),
    [
        ("alexnet", "classifier.6", {"classifier", "classifier.6"}, "classifier.5"),
        ("vit_b_16", "heads.head", {"heads", "heads.head"}, "getitem_5"),
        ("squeezenet1_1", "classifier.1", {"classifier", "classifier.2", "flatten"}, "classifier.0"),
        ("resnet18", "fc", {"fc"}, "flatten"),
    ],
)
def test_nothing_that_depends_on_a_missing_classifier_is_offered(
    name: str, head: str, lost: set[str], last: str
) -> None:
    network = on_paper(name)
    assert lost < set(Traced(network).describe((3, 224, 224)))
    network.set_submodule(head, nn.Identity())
    traced = Traced(network, (head,))
    nodes = traced.describe((3, 224, 224))
    assert not lost & set(nodes)
    assert next(reversed(nodes)) == last
    for node in lost:
        with pytest.raises(OptionError, match="has no weights"):
            traced.columns(LayerSpec(node), nodes)
    assert math.prod(nodes[last].shape) > 0


@pytest.mark.parametrize(
    ("name", "node"),
    [("resnet18", "avgpool"), ("alexnet", "classifier.5"), ("mobilenet_v2", "adaptive_avg_pool2d")],
)
def test_what_a_classifier_sees_is_found_behind_flattening_and_dropout(name: str, node: str) -> None:
    network = torchvision_models.build(name, {}).eval()
    traced, head = Traced(network), parts.find_head(network)
    assert traced.before(head) == node
    seen: list[torch.Tensor] = []
    network.get_submodule(head).register_forward_hook(lambda module, args, out: seen.append(args[0].clone()))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        network(images)
        (rows,) = traced.cut([LayerSpec(node)], traced.describe((3, 64, 64)))(images)
    torch.testing.assert_close(rows, seen[0], rtol=1e-5, atol=1e-5)


class Writes(nn.Module):
    """In-place operations whose results nobody takes, as users write them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        x.add_(1)
        functional.relu(x, inplace=True)
        y = self.conv2(x)
        y.flatten(1).mul_(3)  # through a view
        self.relu(y)
        z = y.mean((2, 3))
        torch.add(z, 1, out=z)
        doubled = z.mul_(2)
        late = z - 1  # reads what the line above wrote, past its result
        out: torch.Tensor = self.fc(late) + self.fc(doubled)
        return out


def test_in_place_operation_whose_result_is_not_used_still_runs() -> None:
    network, images = lively(Writes()), torch.randn(2, 3, 8, 8)
    wanted = hooked(network, images, ["conv1", "fc"])
    with torch.no_grad():
        x = functional.relu(wanted["conv1"] + 1)
        y = functional.relu(network.get_submodule("conv2")(x) * 3)
        z = (y.mean((2, 3)) + 1) * 2
    rows = run(network, images, ["conv1", "conv2", "mean", "sub", "fc"])
    assert distance(rows["conv1"], wanted["conv1"].flatten(1)) < 1e-6
    assert distance(rows["sub"], z - 1) < 1e-5
    assert distance(run(network, images, ["sub"])["sub"], z - 1) < 1e-5
    before = network.get_submodule("conv2")(x)
    assert distance(run(network, images, ["conv2"])["conv2"], before.flatten(1)) < 1e-5


def test_pass_stops_though_later_operations_write_in_place() -> None:
    network, images, ran = lively(Writes()), torch.randn(1, 3, 8, 8), []
    looked_at(network, (3, 8, 8))
    network.get_submodule("conv2").register_forward_hook(lambda *_: ran.append("conv2"))
    run(network, images, ["conv1"])
    assert ran == []


def test_early_layers_can_be_had_of_images_too_small_for_the_last() -> None:
    traced = Traced(on_paper("densenet121"))
    nodes = traced.describe((3, 16, 16), whole=False)
    assert traced.columns(LayerSpec.parse("features.denseblock1:avg"), nodes) == 256
    assert "cannot take 16 x 16 px" in nodes.unfit
    with pytest.raises(OptionError, match=r"'classifier' is out of reach: .*16 x 16 px") as caught:
        traced.columns(LayerSpec("classifier"), nodes)
    assert "size=" in caught.value.hint
    whole = traced.describe((3, 64, 64), whole=False)
    assert (whole.unfit, whole.unreached) == ("", frozenset())
    assert set(nodes) | nodes.unreached == set(traced.names())


def test_node_that_is_no_tensor_names_one_that_is() -> None:
    traced = Traced(on_paper("vit_b_16"))
    nodes = traced.describe((3, 224, 224))
    with pytest.raises(OptionError, match="no tensor") as caught:
        traced.columns(LayerSpec("encoder.layers.encoder_layer_0.self_attention"), nodes)
    near = caught.value.hint.removeprefix("take ")
    assert near.startswith("encoder.layers.encoder_layer_0.")
    assert traced.columns(LayerSpec(near), nodes) == 197 * 768


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "avgpool"),
        ("squeezenet1_1", "features.12.cat:avg"),
        ("vit_b_16", "getitem_5"),
        ("swin_t", "avgpool"),
    ],
)
def test_default_layer_is_what_the_classifier_sees(name: str, layer: str) -> None:
    network = on_paper(name)
    traced = Traced(network)
    assert str(traced.default(parts.find_head(network), traced.describe((3, 224, 224)))) == layer


def test_network_that_is_only_a_classifier_has_no_default_layer() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)).eval()
    with pytest.raises(OptionError, match="takes no layer's output"):
        Traced(network).before("1")


@pytest.mark.parametrize(
    ("name", "px", "difference"),
    [("googlenet", 96, 1e-5), ("inception_v3", 128, 1e-5), ("squeezenet1_1", 64, 1e-5), ("swin_t", 64, 1e-5),
     ("shufflenet_v2_x0_5", 64, 1e-5), ("mnasnet0_5", 64, 1e-5)],
)  # fmt: skip
def test_default_layer_equals_the_plain_networks(name: str, px: int, difference: float) -> None:
    assert compare_default_layer(name, size=px).difference < difference


def test_layout_of_a_network_of_one_size_shows_in_its_equal_sides() -> None:
    assert _layout((7, 7, 768), None, square=True) == "NHWC"
    assert _layout((768, 7, 7), None, square=True) == "NCHW"
    assert _layout((7, 7, 7), None, square=True) == "?"
    assert _layout((7, 9, 768), None, square=False) == "?"


def test_extraction_takes_the_early_layers_of_small_images() -> None:
    network = Network(resolve("densenet121", weights="random:0", size=16), (3, 16, 16))
    assert network.columns(LayerSpec.parse("features.denseblock1:avg")) == 256
    with pytest.raises(OptionError, match="out of reach"):
        network.columns(LayerSpec("classifier"))
