"""Networks by name: what they are, where their classifier sits, and which preprocessing belongs to them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from featx.core.specs import IMAGENET_MEAN, IMAGENET_STD
from featx.errors import OptionError
from featx.models import torchvision_models
from featx.models.heads import head_width


def on_paper(name: str, **options: Any) -> nn.Module:
    """A network without values: shapes only, so that large ones cost nothing."""
    with torch.device("meta"):
        return torchvision_models.build(name, options)


def test_every_torchvision_classifier_has_its_name() -> None:
    known = torchvision_models.names()
    assert known == sorted(known)
    assert {"alexnet", "vgg16", "googlenet", "resnet18", "vit_b_16", "swin_t"} <= set(known)
    assert not [name for name in known if "rcnn" in name or "quantized" in name or "raft" in name]
    for name in known:
        assert torchvision.models.get_model_weights(name), name


@pytest.mark.parametrize(
    ("name", "head", "width"),
    [
        ("resnet18", "fc", 512),
        ("alexnet", "classifier.6", 4096),
        ("vgg16", "classifier.6", 4096),
        ("mobilenet_v2", "classifier.1", 1280),
        ("densenet121", "classifier", 1024),
        ("squeezenet1_1", "classifier.1", 512),
        ("swin_t", "head", 768),
        ("vit_b_16", "heads.head", 768),
    ],
)
def test_head_is_the_layer_that_gives_the_classes(name: str, head: str, width: int) -> None:
    module = on_paper(name, num_classes=7)
    assert torchvision_models.find_head(module) == head
    layer = module.get_submodule(head)
    assert head_width(layer) == width
    assert (layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features) == 7


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_not_the_head(name: str) -> None:
    options = torchvision_models.builder_options(name, loaded=True, published=True, auxiliary=True)
    module = on_paper(name, **options)
    assert any(path.startswith(torchvision_models.AUXILIARY) for path, _ in module.named_modules())
    assert torchvision_models.find_head(module) == "fc"


def test_network_without_a_classifier_says_so() -> None:
    with pytest.raises(OptionError, match="ReLU has no classifier"):
        torchvision_models.find_head(nn.ReLU())


def test_only_googlenet_and_inception_are_built_specially() -> None:
    flags = {"loaded": True, "published": True, "auxiliary": False}
    assert torchvision_models.builder_options("resnet18", **flags) == {}
    options = torchvision_models.builder_options("googlenet", **flags)
    assert options == {"init_weights": False, "transform_input": True, "aux_logits": False}


@pytest.mark.parametrize(
    "weights",
    ["ResNet18_Weights.IMAGENET1K_V1", "ResNet50_Weights.IMAGENET1K_V2", "ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1",
     "Inception_V3_Weights.IMAGENET1K_V1", "Swin_T_Weights.IMAGENET1K_V1", "EfficientNet_B0_Weights.IMAGENET1K_V1"],
)  # fmt: skip
def test_published_preset_is_torchvisions_own(weights: str) -> None:
    enum = torchvision.models.get_weight(weights)
    preset, spec = (
        enum.transforms(),
        torchvision_models.preset_of(enum.meta.get("name", weights.split("_Weights")[0].lower()), enum),
    )
    assert [spec.resize] == preset.resize_size
    assert [spec.crop] == preset.crop_size
    assert spec.interpolation == preset.interpolation.value
    assert (list(spec.mean), list(spec.std)) == (preset.mean, preset.std)


def test_random_weights_take_the_networks_size_and_imagenets_statistics() -> None:
    spec = torchvision_models.preset_of("inception_v3")
    assert (spec.resize, spec.crop) == (342, 299)
    assert (spec.mean, spec.std) == (IMAGENET_MEAN, IMAGENET_STD)


@pytest.mark.parametrize("px", [224, 384])
def test_size_of_a_vision_transformer_is_in_its_weights(px: int) -> None:
    state = on_paper("vit_b_16", image_size=px).state_dict()
    assert torchvision_models.vit_size(state) == px
    assert torchvision_models.vit_size(on_paper("resnet18").state_dict()) is None
