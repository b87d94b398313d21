"""Fused operators: what a cut network gives is the same, but for fewer roundings."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from featx.core.device import arithmetic
from featx.core.specs import LayerSpec
from featx.extraction.forward import Forward, Network
from featx.graph.fused import DTYPES, fuse
from featx.graph.packed_conv import Activation, PackedConv2d, can_pack, same_padding
from featx.graph.traced import Traced
from featx.models.backbones import resolve

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(not can_pack("bf16"), reason="no fused operators in bf16 here")


def rows(module: nn.Module, layers: list[str], precision: str, *, fused: bool, keep: tuple[str, ...] = ()) -> Any:
    """Return what layers give of noise, by a network that is cut after them, and that network."""
    torch.manual_seed(0)
    x = torch.randn(4, 3, 16, 16)
    traced, specs = Traced(module.eval()), [LayerSpec.parse(layer) for layer in layers]
    kept = [LayerSpec.parse(layer) for layer in keep]
    short = traced.cut(specs, traced.describe((3, 16, 16)), kept, precision if fused else None)
    with torch.inference_mode(), arithmetic(CPU, precision):
        return [found.numpy() for found in short(x)], short


def relative(found: Any, expected: Any) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


class Block(nn.Module):
    """A residual block, with whatever activation, whose sum is in place or not."""

    def __init__(self, act: nn.Module | None = None, stride: int = 1, in_place: bool = True) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.in_place = in_place
        self.act: nn.Module = act or nn.ReLU(inplace=True)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.first = nn.Conv2d(8, 8, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 8, 1, stride) if stride > 1 else nn.Identity()
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.second(self.act(self.bn(self.first(x))))
        other = self.down(x)
        if self.in_place:
            y += other
        else:
            y = other + y
        return self.last(self.act(y))  # type: ignore[no-any-return]


@pytest.mark.parametrize("act", [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.SiLU(), nn.Hardswish(), nn.GELU()])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("in_place", [True, False])
def test_a_residual_block_gives_the_same(act: nn.Module, stride: int, in_place: bool) -> None:
    module = Block(act, stride, in_place)
    for layers in (["last"], ["second", "last"], ["first", "bn", "stem", "last:avg"]):
        (plain, _), (found, _) = (rows(module, layers, "fp32", fused=fused) for fused in (False, True))
        for one, other in zip(found, plain, strict=True):
            assert relative(one, other) < 1e-5


def test_what_follows_a_convolution_is_in_it() -> None:
    _, short = rows(Block(), ["last"], "fp32", fused=True)
    calls = [node for node in short.graph.nodes if node.op == "call_module"]
    assert {type(short.get_submodule(node.target)) for node in calls} == {PackedConv2d}
    assert len(calls) == 4
    assert [node for node in short.graph.nodes if node.op == "call_function" and "add" in str(node.target)] == []


@pytest.mark.parametrize("wanted", ["first", "bn", "second", "add", "stem"])
def test_a_wanted_node_is_not_what_a_later_one_would_be(wanted: str) -> None:
    module = Block(in_place=False)
    torch.nn.init.constant_(module.first.weight, -0.1)
    (plain,), _ = rows(module, [wanted], "fp32", fused=False)
    (found, _), _ = rows(module, [wanted, "last"], "fp32", fused=True)
    assert relative(found, plain) < 1e-5
    assert (plain < 0).any()


@pytest.mark.parametrize("kept", ["first", "bn", "second", "add", "stem", "act"])
def test_a_resumed_pass_gives_the_bytes_of_its_first_start(kept: str) -> None:
    module = Block(in_place=False)
    (_, both), _ = rows(module, [kept, "last"], "bf16", fused=True, keep=(kept, "last"))
    (alone,), _ = rows(module, ["last"], "bf16", fused=True, keep=(kept, "last"))
    np.testing.assert_array_equal(alone, both)


def test_a_convolution_that_is_called_twice_has_the_activation_of_each_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(functional.relu(self.conv(x)))  # type: ignore[no-any-return]

    (plain, _), (found, _) = (rows(Twice(), ["conv_1"], "fp32", fused=fused) for fused in (False, True))
    assert relative(found[0], plain[0]) < 1e-6
    assert (plain[0] < 0).any()


def test_what_is_written_between_a_convolution_and_its_sum_counts() -> None:
    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            other = self.a(x)
            y = self.b(x)
            other.mul_(3)
            return other + y  # type: ignore[no-any-return]

    (plain, _), (found, _) = (rows(Between(), ["add"], "fp32", fused=fused) for fused in (False, True))
    assert relative(found[0], plain[0]) < 1e-6


def test_a_sum_of_other_shapes_is_left_to_pytorch() -> None:
    class Broadcast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.bias = nn.Conv2d(3, 5, 3), nn.Parameter(torch.randn(1, 5, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.relu(self.conv(x) + self.bias)

    for precision in ("fp32", "bf16"):
        (plain, _), (found, _) = (rows(Broadcast(), ["relu"], precision, fused=fused) for fused in (False, True))
        assert relative(found[0], plain[0]) < (1e-6 if precision == "fp32" else 1e-2)


def test_shared_weights_are_not_changed() -> None:
    module = Block()
    before = copy.deepcopy(module.state_dict())
    rows(module, ["last"], "bf16", fused=True)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
    act=st.sampled_from(["none", "relu"]),
    added=st.booleans(),
    images=st.integers(1, 3),
    precision=st.sampled_from(["fp32", "bf16"]),
    data=st.data(),
)
# Kernels that meet nothing but padding, on maps one px wide, made oneDNN crash; sums after groups have no bfloat16;
# strides along results one px wide give what lay in memory on CPUs with AMX.
@example((4, 1), (1, 1), 2, 1, 2, 1, False, "relu", False, 2, "fp32", None)
@example((6, 1), (3, 1), 3, 2, 2, 2, True, "relu", False, 2, "bf16", None)
@example((5, 8), (5, 5), 2, 2, 2, 2, True, "relu", True, 1, "bf16", None)
@example((7, 1), (1, 3), 2, 1, 1, 1, False, "none", False, 1, "bf16", None)
@example((9, 4), (3, 4), 2, 1, 1, 1, True, "relu", True, 2, "bf16", None)
def test_any_convolution_is_pytorchs(
    size: Any, kernel: Any, stride: int, padding: int, dilation: int, groups: int, bias: bool, act: str, added: bool,
    images: int, precision: str, data: Any,
) -> None:  # fmt: skip
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 8, kernel, stride, padding, dilation, groups, bias)
    if any(n + 2 * padding < dilation * (k - 1) + 1 for n, k in zip(size, kernel, strict=True)):
        return
    dtype = DTYPES[precision]
    packed, within = PackedConv2d(conv, dtype), 1e-5 if precision == "fp32" else 3e-2
    packed.activation = Activation(act)
    with torch.inference_mode(), arithmetic(CPU, precision):
        for _ in range(2):  # another number of images, and another size, with the same weights
            x = torch.randn(images, 4, *size)
            expected = conv.double()(x.double())
            conv.float()
            other = torch.randn(expected.shape).to(dtype) if added else None
            expected = expected + other.double() if other is not None else expected
            expected = expected.relu() if act == "relu" else expected
            torch.testing.assert_close(packed(x, other).double(), expected, rtol=within, atol=within)
            images, size = data.draw(st.integers(1, 3)) if data else images, (size[0] + 1, size[1])


@pytest.mark.parametrize("size", [(7, 8), (8, 8), (5, 5), (16, 9)])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (3, 1, 2), (4, 3, 1), (1, 1, 1)])
def test_tensorflows_padding_is_timms(size: tuple[int, int], kernel: int, stride: int, dilation: int) -> None:
    timm = pytest.importorskip("timm.layers")
    conv = timm.create_conv2d(4, 4, kernel, stride=stride, dilation=dilation, padding="same")
    x = torch.randn(2, 4, *size)
    pads = same_padding(conv, size)
    padded = functional.pad(x, pads) if pads else x
    plain = conv.padding if not pads and type(conv) is nn.Conv2d else 0
    expected = functional.conv2d(padded, conv.weight, conv.bias, stride, plain, dilation)
    torch.testing.assert_close(conv(x), expected)
    with torch.inference_mode(), arithmetic(CPU, "fp32"):
        torch.testing.assert_close(PackedConv2d(conv, torch.float32)(x), conv(x), rtol=1e-5, atol=1e-5)


NETWORKS = [
    ("resnet18", 32, ["layer1:avg", "layer2.0.conv1:avg", "avgpool"]),
    ("resnet50", 64, ["layer2:avg2", "avgpool"]),
    ("mobilenet_v3_small", 64, ["features.3:avg", "avgpool"]),
    ("efficientnet_b0", 64, ["avgpool"]),
    ("densenet121", 32, ["features:avg"]),
    ("googlenet", 64, ["avgpool"]),
    ("shufflenet_v2_x0_5", 64, ["conv5:avg"]),
    ("squeezenet1_1", 64, ["features:avg"]),
    ("vgg11", 32, ["avgpool"]),
    ("lenet5", 32, ["conv2:max", "fc1"]),
    ("timm:tf_efficientnet_lite0", 96, ["blocks.1.1.bn1:avg", "blocks.2:avg", "global_pool"]),
    ("timm:mobilenetv3_small_050", 64, ["global_pool"]),
]


@pytest.mark.parametrize(("name", "size", "layers"), NETWORKS)
def test_networks_give_the_same_features(name: str, size: int, layers: list[str]) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    backbone = resolve(name, weights="random:0", size=size)
    network = Network(backbone, (backbone.preprocess.channels, size, size))
    specs = [LayerSpec.parse(layer) for layer in layers]
    shape = (5, size, size, backbone.preprocess.channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    ways = [(precision, fused) for precision in ("fp32", "bf16") for fused in (False, True)]
    found = {way: Forward(network, specs, specs, CPU, way[0], fused=way[1])(pixels).rows() for way in ways}
    for i in range(len(specs)):
        exact = found["fp32", False][i]
        assert relative(found["fp32", True][i], exact) < 1e-5
        # Fewer roundings: no further from what they are of, but for luck.
        assert relative(found["bf16", True][i], exact) < 1.5 * relative(found["bf16", False][i], exact) + 1e-3


def test_half_precision_is_left_to_pytorch() -> None:
    assert not can_pack("fp16")
    with pytest.raises(KeyError):
        fuse(Traced(Block().eval()).graph_module, set(), "fp16")


@pytest.mark.parametrize("act", [nn.ReLU(), nn.ReLU6(), nn.SiLU(), nn.Hardswish()])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("broken", ["weight", "bias", "overflow"])
def test_what_is_no_number_stays_none(act: nn.Module, precision: str, broken: str) -> None:
    """oneDNN's own activations make 0 of it, and a broken network's features would look like any other's."""
    module = Block(act)
    if broken == "overflow":
        for conv in (module.stem, module.first, module.second):
            conv.weight.data.mul_(1e20)
    else:
        getattr(module.second, broken).data.view(-1)[0] = torch.nan
    (plain, _), (found, _) = (rows(module, ["last"], precision, fused=fused) for fused in (False, True))
    assert np.isfinite(found[0]).all() == np.isfinite(plain[0]).all()
    if broken != "overflow" or type(act) is not nn.ReLU6:  # which makes 6 of infinity, where the CPU leaves it infinite
        assert not np.isfinite(plain[0]).all()
