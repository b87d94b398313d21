"""From uint8 images to rows: the same values as the original network gives, and arithmetic that is what it says."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from lively import lively
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer
from torchvision.transforms import functional

from featx.core.device import arithmetic, memory_errors, pick_device
from featx.core.specs import LayerSpec, PreprocessSpec, Views
from featx.errors import FeatxWarning, OptionError, OutOfMemoryError
from featx.extraction.forward import Forward, Network, Normalize
from featx.graph.pooling import pool
from featx.models import torchvision_models
from featx.models.backbones import Backbone

CPU = torch.device("cpu")
Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Given(Backbone):
    """A backbone whose network is at hand."""

    network: Any = None

    def module(self) -> nn.Module:
        network: nn.Module = copy.deepcopy(self.network)
        return network


def given(network: nn.Module, px: int, **changes: Any) -> Given:
    return Given("mine", "none", "0" * 64, replace(PreprocessSpec(px, px), **changes), network=network.eval())


def images(px: int, n: int = 2, channels: int = 3) -> Images:
    return np.random.default_rng(5).integers(0, 256, (n, px, px, channels), np.uint8)


def rows(network: Network, layers: Sequence[str], pixels: Images, precision: str = "fp32") -> dict[str, Any]:
    specs = [LayerSpec.parse(layer) for layer in layers]
    forward = Forward(network, specs, (), CPU, precision)
    return dict(zip(layers, forward(pixels).rows(), strict=True))


def original(module: nn.Module, pixels: Images, paths: Sequence[str]) -> dict[str, torch.Tensor]:
    """What a user's own hooks see: torchvision's preprocessing, no in-place ReLU, outputs cloned at once."""
    plain, seen = copy.deepcopy(module), {}
    for child in plain.modules():
        if hasattr(child, "inplace"):
            child.inplace = False
    for path in paths:
        keep = lambda m, args, out, path=path: seen.update({path: out.clone()})  # noqa: E731
        plain.get_submodule(path).register_forward_hook(keep)
    spec = PreprocessSpec(1, 1)
    x = functional.convert_image_dtype(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.float)
    with torch.no_grad():
        plain(functional.normalize(x, list(spec.mean), list(spec.std)))
    return seen


def build(name: str) -> nn.Module:
    """Build a network whose batch norms do something."""
    options = torchvision_models.builder_options(name, loaded=True, published=True, auxiliary=False)
    if name == "vit_b_16":
        options = {"image_size": 64}  # a sixteenth of the tokens
    torch.manual_seed(0)
    return lively(torchvision_models.build(name, options))


# Each list holds a node directly before an in-place activation, which would overwrite it.
@pytest.mark.parametrize(
    ("name", "px", "layers"),
    [
        ("resnet18", 64, ["bn1", "layer2.0.conv1", "layer4"]),
        ("vgg16", 32, ["features.28", "features.30", "classifier.3"]),
        ("alexnet", 64, ["features.0", "features.8", "classifier.4"]),
        ("googlenet", 64, ["conv1.bn", "inception3a.branch1.bn", "inception4e"]),
        ("mobilenet_v2", 64, ["features.0.1", "features.4.conv.1.1", "features.18"]),
        ("swin_t", 64, ["features.1.0.attn", "features.3", "norm"]),
        ("vit_b_16", 64, ["conv_proj", "encoder.layers.encoder_layer_1.mlp.0", "encoder.ln"]),
    ],
)
def test_features_equal_the_original_networks(name: str, px: int, layers: list[str]) -> None:
    module, pixels = build(name), images(px)
    wanted = original(module, pixels, layers)
    network = Network(given(module, px), (3, px, px))
    together = rows(network, layers, pixels)
    for layer in layers:
        value = wanted[layer].flatten(1).numpy()
        for found in (together[layer], rows(network, [layer], pixels)[layer]):
            assert found.shape == value.shape
            assert np.abs(found - value).max() / np.abs(value).max() < 1e-5, layer


TRANSFORMERS = {
    "conv": (lambda: torchvision_models.build("resnet18", {}), "layer3", "NCHW"),
    "swin": (lambda: SwinTransformer([4, 4], 16, [2, 2], [2, 2], [7, 7]), "features.1", "NHWC"),
    "vit": (lambda: VisionTransformer(64, 8, 2, 2, 16, 32), "encoder.ln", "NLC"),
}


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_poolings_of_a_real_pass_equal_numpys(kind: str) -> None:
    make, node, layout = TRANSFORMERS[kind]
    module, pixels = make().eval(), images(64)
    value = original(module, pixels, [node])[node].numpy()
    space = {"NCHW": (2, 3), "NHWC": (1, 2), "NLC": (1,)}[layout]
    wanted = {"avg": value.mean(space), "max": value.max(space), "flat": value.reshape(2, -1)}
    if layout == "NLC":
        wanted["cls"] = value[:, 0]
    else:
        half = [slice(0, value.shape[space[0]] // 2), slice(value.shape[space[0]] // 2, None)]
        cells = [[value[(slice(None),) * space[0] + (a, b)].mean(space) for b in half] for a in half]
        wanted["avg2"] = np.stack([cells[0][0], cells[0][1], cells[1][0], cells[1][1]], 2).reshape(2, -1)
    found = rows(Network(given(module, 64), (3, 64, 64)), [f"{node}:{how}" for how in wanted], pixels)
    for how, expected in wanted.items():
        np.testing.assert_allclose(found[f"{node}:{how}"], expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return build("resnet18")


@pytest.fixture(scope="module")
def network(resnet18: nn.Module) -> Network:
    return Network(given(resnet18, 64), (3, 64, 64))


def test_rows_come_in_the_order_asked(network: Network) -> None:
    pixels = images(64)
    deep_first = rows(network, ["layer3:avg", "conv1:avg", "layer1:avg"], pixels)
    for layer, value in deep_first.items():
        alone = rows(network, [layer], pixels)[layer]
        assert np.abs(value - alone).max() < 1e-5 * np.abs(alone).max()
    assert [v.shape[1] for v in deep_first.values()] == [256, 64, 64]


def test_image_does_not_depend_on_its_neighbours(network: Network) -> None:
    pixels = images(64, n=5)
    whole = rows(network, ["layer4:avg"], pixels)["layer4:avg"]
    for i in range(5):
        one = rows(network, ["layer4:avg"], pixels[i : i + 1])["layer4:avg"]
        assert np.abs(one - whole[i]).max() < 1e-5 * np.abs(whole).max()


def test_normalisation_is_torchvisions_to_the_bit() -> None:
    spec, pixels = PreprocessSpec(16, 16), images(16)
    x = functional.convert_image_dtype(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.float)
    wanted = functional.normalize(x, list(spec.mean), list(spec.std))
    assert torch.equal(Normalize(spec)(torch.from_numpy(pixels)), wanted)


def test_callers_pixels_are_not_changed(network: Network) -> None:
    pixels = images(64)
    before = pixels.copy()
    rows(network, ["conv1:avg"], pixels)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_and_is_not_fp32(network: Network, precision: str) -> None:
    pixels = images(64)
    exact = rows(network, ["layer4:avg"], pixels)["layer4:avg"]
    half = rows(network, ["layer4:avg"], pixels, precision)["layer4:avg"]
    assert half.dtype == np.float32
    assert 1e-5 < np.abs(half - exact).max() / np.abs(exact).max() < 0.1


def test_fp32_means_fp32_whatever_the_caller_allows(network: Network) -> None:
    before = torch.get_float32_matmul_precision()
    a, b = torch.randn(2, 512, 1024)[0], torch.randn(1024, 1024)
    exact = a @ b
    torch.set_float32_matmul_precision("medium")  # lets matrix products run in bf16
    try:
        with arithmetic(CPU, "fp32"):
            assert torch.backends.cuda.matmul.fp32_precision == "ieee"
            assert torch.backends.cudnn.conv.fp32_precision == "ieee"
            assert torch.equal(a @ b, exact)
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    finally:
        torch.set_float32_matmul_precision(before)


def test_arithmetic_is_put_back_after_an_error() -> None:
    before = torch.backends.cudnn.conv.fp32_precision
    with pytest.raises(KeyError), arithmetic(CPU, "bf16"):
        raise KeyError
    assert torch.backends.cudnn.conv.fp32_precision == before
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:99", "cuda:01", "meta", ""])
def test_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match="device"):
        pick_device(name)


def test_auto_takes_what_is_there() -> None:
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == CPU


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")],
)
def test_failed_allocation_names_the_option(error: Exception) -> None:
    with pytest.raises(OutOfMemoryError, match="batch_size"), memory_errors("the forward pass"):
        raise error


def greedy(most: int, tried: list[int]) -> nn.Module:
    """Return a network that runs out of memory with more than `most` images."""

    class Greedy(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.device.type != "meta":
                tried.append(len(x))
                if len(x) > most:
                    raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(x)

    torch.manual_seed(0)
    leaf = Greedy(3, 8, 3)
    leaf.__module__ = type(leaf).__module__ = "torch.nn.greedy"  # a leaf of the graph, as torch's own modules are
    return nn.Sequential(leaf, nn.ReLU())


def test_memory_that_runs_out_halves_the_images_of_a_pass_once_and_for_all() -> None:
    pixels, tried = images(16, n=11), []
    network = Network(given(greedy(3, tried), 16), (3, 16, 16))
    forward = Forward(network, [LayerSpec("1")], (), CPU, "fp32")
    with pytest.warns(FeatxWarning, match="out of memory with 11 images .*continuing with 3; batch_size=3") as told:
        (found,) = forward(pixels).rows()
    assert tried == [11, 6, 3, 3, 3, 2]
    assert len(told) == len(forward.room.notes) == 1
    assert forward.room.images == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = forward(pixels[:4]).rows()[0]
    assert tried[6:] == [3, 1]
    plain = rows(Network(given(greedy(99, []), 16), (3, 16, 16)), ["1"], pixels)["1"]
    for some in (found, again):
        assert np.abs(some - plain[: len(some)]).max() < 1e-5 * np.abs(plain).max()


def test_several_layers_and_views_are_cut_alike() -> None:
    pixels, tried = images(16, n=5), []
    other, views = images(16, n=5)[::-1].copy(), Views(flip=True)
    network = Network(given(greedy(2, tried), 16, views=views), (3, 16, 16))
    specs = [LayerSpec("1", "avg"), LayerSpec("0", "max")]
    with pytest.warns(FeatxWarning):
        found = Forward(network, specs, (), CPU, "fp32")(pixels, other).rows()
    assert tried == [5, 3, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1]
    roomy = Network(given(greedy(9, []), 16, views=views), (3, 16, 16))
    expected = Forward(roomy, specs, (), CPU, "fp32")(pixels, other).rows()
    for some, all_at_once in zip(found, expected, strict=True):
        assert np.abs(some - all_at_once).max() < 1e-5 * np.abs(all_at_once).max()


def test_one_image_too_many_is_an_error() -> None:
    forward = Forward(Network(given(greedy(0, []), 16), (3, 16, 16)), [LayerSpec("1")], (), CPU, "fp32")
    with pytest.raises(OutOfMemoryError, match="forward pass of one image") as caught:
        forward(images(16, n=4))
    assert "size=" in caught.value.hint
    assert forward.room.notes == []


LIMITED = """
import resource, warnings
import numpy as np, torch
from torch import nn
from featx.errors import FeatxWarning
from featx.extraction.forward import Forward, Network
from featx.core.specs import LayerSpec
from test_forward import CPU, given, images

torch.manual_seed(0)
network = Network(given(nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3)), 64), (3, 64, 64))
pixels = images(64, n=40)
wanted = [LayerSpec("2", "avg")]
(expected,) = Forward(network, wanted, (), CPU, "fp32")(pixels).rows()
forward = Forward(network, wanted, (), CPU, "fp32")
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 24_000_000,) * 2)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    (found,) = forward(pixels).rows()
assert 1 <= forward.room.images <= 20, forward.room
assert [w.category for w in told] == [FeatxWarning], told
assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
print("going on with", forward.room.images)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory in use from /proc")
def test_a_machine_short_of_memory_gives_the_same_rows() -> None:
    here = Path(__file__).parent
    where = {
        **os.environ,
        "PYTHONPATH": f"{here}{os.pathsep}{here.parent / 'support'}",
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }
    done = subprocess.run([sys.executable, "-c", LIMITED], env=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("going on with")


def test_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory_errors("the forward pass"):
        raise RuntimeError("shape mismatch")


def test_pooling_is_part_of_the_pass_itself(network: Network) -> None:
    specs = [LayerSpec.parse("layer4:avg")]
    short = network.traced.cut(specs, network.nodes)
    assert [node.target for node in short.graph.nodes if node.op == "call_function"].count(pool) == 1
