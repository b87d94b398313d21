"""Convolutions of small maps are products, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch import nn
from torchvision import models

from featx.models.parts import channels_last
from featx.training.small_convolutions import UnrolledConv2d, unrolled

SIDES = st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 3), st.integers(0, 5))


@given(SIDES, SIDES, st.booleans(), st.booleans())
@example((2, 3, 2, 1), (2, 3, 3, 4), False, False)  # columns that meet padding alone
@example((3, 1, 3, 2), (1, 5, 2, 2), True, True)
def test_values_and_gradients_are_those_of_the_convolution(
    y: tuple[int, ...], x: tuple[int, ...], has_bias: bool, is_channels_last: bool
) -> None:
    assume(all(n + 2 * padding >= kernel for n, kernel, _, padding in (y, x)))
    (height, *rows), (width, *columns) = y, x
    kernel, stride, padding = zip(rows, columns, strict=True)
    torch.manual_seed(0)
    module = nn.Conv2d(4, 6, kernel, stride, padding, bias=has_bias)
    if is_channels_last:
        channels_last(module)
    image = torch.randn(2, 4, height, width)
    expected = outcome(module, image, nn.Conv2d)
    for got, want in zip(outcome(module, image, UnrolledConv2d), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def outcome(module: Any, image: torch.Tensor, kind: Any) -> list[torch.Tensor]:
    """Values, and gradients by the image and each parameter."""
    module.__class__ = kind
    module.zero_grad()
    image = image.clone().requires_grad_()
    values = module(image)
    torch.autograd.backward(values, torch.arange(float(values.numel())).reshape(values.shape).cos())
    found = [values.detach(), image.grad, *(p.grad for p in module.parameters())]
    assert all(tensor is not None for tensor in found)
    return [tensor for tensor in found if tensor is not None]


def vgg11(num_classes: int) -> nn.Module:
    """Return VGG11 without the hundred million parameters behind its convolutions: they are not what is unrolled."""
    network = models.vgg11()
    network.classifier = nn.Linear(512 * 7 * 7, num_classes)
    return network


BUILD: list[Callable[..., nn.Module]] = [
    models.resnet18,
    vgg11,
    models.mobilenet_v2,
    models.densenet121,
    lambda num_classes: models.googlenet(num_classes=num_classes, init_weights=False, aux_logits=False),
]


@pytest.mark.parametrize("build", BUILD)
def test_networks_at_32_px_learn_the_same(build: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    network = channels_last(build(num_classes=3)).double().eval()
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    expected = gradients(network, images)
    with unrolled(network):
        assert any(type(m) is UnrolledConv2d for m in network.modules())
        found = gradients(network, images)
    assert not any(type(m) is UnrolledConv2d for m in network.modules())
    for name, want in expected.items():
        torch.testing.assert_close(found[name], want, rtol=1e-9, atol=1e-12, msg=name)
        assert found[name].stride() == want.stride(), name


def gradients(network: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    network.zero_grad()
    torch.autograd.backward(network(images).logsumexp(1).sum())
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def test_autocast_multiplies_in_its_precision() -> None:
    module, image = channels_last(nn.Conv2d(8, 8, 3, padding=1)), torch.rand(2, 8, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        want = module(image)
        with unrolled(module):
            got = module(image)
    assert got.dtype == want.dtype == torch.bfloat16
    torch.testing.assert_close(got, want, rtol=0.02, atol=0.01)
    torch.autograd.backward(got.float().sum())
    weight: Any = module.weight
    assert weight.grad.dtype == torch.float32


def test_autocast_lets_float64_be() -> None:
    module, image = nn.Conv2d(2, 2, 3, padding=1).double(), torch.rand(1, 2, 1, 1, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16), unrolled(module):
        assert module(image).dtype == torch.float64


@pytest.mark.parametrize(
    ("px", "convolutions"),
    [(32, 20 - 3 - 3 - 1), (64, 20 - 3), (224, 20)],  # of 20: maps of 1 px (three, and one step to it) and of 2 px
)
def test_small_maps_are_multiplied(px: int, convolutions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    whole = nn.Conv2d._conv_forward

    def spy(self: nn.Conv2d, *others: Any) -> torch.Tensor:
        ran.append(self)
        return whole(self, *others)

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", spy)
    network = models.resnet18().eval()
    with unrolled(network), torch.inference_mode():
        network(torch.zeros(1, 3, px, px))
    assert len(ran) == convolutions


def test_what_is_not_a_dense_convolution_with_zeros_around_it_is_left_alone() -> None:
    kinds = [
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 2, 3, padding="same"),
        nn.Conv2d(2, 2, 3, padding=1, groups=2),
        nn.Conv2d(2, 2, 3, padding=2, dilation=2),
        nn.Conv2d(2, 2, 1),
    ]
    with unrolled(nn.Sequential(*kinds)):
        assert {type(kind) for kind in kinds} == {nn.Conv2d}


def test_too_small_a_map_and_an_image_alone_are_torchs_business() -> None:
    module = nn.Conv2d(1, 1, 3)
    with unrolled(module):
        assert module(torch.zeros(1, 3, 3)).shape == (1, 1, 1)
        with pytest.raises(RuntimeError, match="Kernel size"):
            module(torch.zeros(1, 1, 2, 2))


def test_the_network_is_as_it_was_after_an_error() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1))
    with pytest.raises(KeyboardInterrupt), unrolled(network):
        raise KeyboardInterrupt
    assert type(network[0]) is nn.Conv2d
