"""What learns of a network and what stays as it is, and the counts that the experiments print."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from featx.errors import OptionError
from featx.models.backbones import resolve
from featx.models.heads import count_parameters, head_width
from featx.models.parts import find_head
from featx.training.config import MODES, TrainConfig
from featx.training.trainable import TrainableModel, assemble, trainable_of

pytestmark = pytest.mark.usefixtures("one_thread")


def on_meta(name: str, n_classes: int, px: int, **options: Any) -> TrainableModel:
    """Give a torchvision network a head without any of its weights in memory."""
    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None).eval()
        place = find_head(network)
        width = head_width(network.get_submodule(place))
        return assemble(network, place, width, TrainConfig(**options), n_classes, (3, px, px))


def lenet(**options: Any) -> TrainableModel:
    return trainable_of(resolve("lenet5", weights="random:0", channels=1), TrainConfig(**options), 3, (1, 32, 32))


def resnet(**options: Any) -> TrainableModel:
    return trainable_of(resolve("resnet18", weights="random:0", size=32), TrainConfig(**options), 3, (3, 32, 32))


def learning(trainable: TrainableModel) -> set[str]:
    return {name for name, p in trainable.network.named_parameters() if p.requires_grad}


# ---- the experiments' own counts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "head", "mode", "total", "learns"),
    [
        ("vgg16", "flat-linear", "scratch", 15_124_488, 15_124_488),
        ("vgg16", "flat-linear", "frozen", 15_124_488, 409_800),
        ("vgg16", "flat-linear", "finetune", 15_124_488, 15_124_488),
        ("resnet50", "flat-mlp:512", "frozen", 27_805_448, 4_297_416),
    ],
)
def test_counts_at_64_px_with_200_classes(name: str, head: str, mode: str, total: int, learns: int) -> None:
    trainable = on_meta(name, 200, 64, head=head, mode=mode)
    expected = {"total": total, "trainable": learns, "frozen": total - learns}
    assert count_parameters(trainable.network) == expected
    megabytes = sum(p.nbytes for p in trainable.network.parameters()) / 2**20
    assert round(megabytes, 2) == {"vgg16": 57.7, "resnet50": 106.07}[name]  # float32, as the tables have them


def test_the_head_of_the_second_experiment() -> None:
    trainable = on_meta("vgg16", 10, 32, head="flat-mlp:256,128:dropout=0.5", mode="frozen")
    kinds = [type(layer).__name__ for layer in trainable.head]  # type: ignore[arg-type]
    assert kinds == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert count_parameters(trainable.network)["trainable"] == 512 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10


@pytest.mark.parametrize(
    "name", ["alexnet", "googlenet", "densenet121", "mobilenet_v2", "squeezenet1_0", "convnext_tiny"]
)
def test_flat_heads_stand_on_the_base_of_every_kind_of_convolutional_network(name: str) -> None:
    trainable = on_meta(name, 4, 64, head="flat-linear", mode="frozen")
    with torch.device("meta"):
        assert trainable.network.eval()(torch.empty(2, 3, 64, 64)).shape == (2, 4)
    assert trainable.alone


def test_a_transformer_has_no_convolutional_base() -> None:
    with pytest.raises(OptionError, match="no convolutional base") as caught:
        on_meta("vit_b_16", 4, 224, head="flat-linear")
    assert "head='linear'" in caught.value.hint


# ---- what learns ----------------------------------------------------------------------------------------------------


def test_everything_from_a_block_on_learns_and_nothing_before() -> None:
    trainable = resnet(mode="finetune", unfreeze_from="layer4")
    assert {name.split(".")[0] for name in learning(trainable)} == {"layer4", "fc"}
    trainable.network.train()
    for module in trainable.eval_modules:
        module.eval()
    norms = {name: m.training for name, m in trainable.network.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert {name.split(".")[0] for name, training in norms.items() if training} == {"layer4"}
    assert not all(norms.values())


def test_a_block_may_be_numbered_and_the_order_is_that_in_which_they_run() -> None:
    trainable = on_meta("vgg16", 3, 32, head="flat-linear", mode="finetune", unfreeze_from="features.24")
    convs = [f"base.features.{i}" for i in (24, 26, 28)]
    assert learning(trainable) == {f"{c}.{part}" for c in (*convs, "head") for part in ("weight", "bias")}
    vit = on_meta("vit_b_16", 3, 224, mode="finetune", unfreeze_from="encoder.layers.encoder_layer_11")
    blocks = {".".join(name.split(".")[:3]) for name in learning(vit)}
    assert blocks == {
        "encoder.layers.encoder_layer_11",
        "encoder.ln.weight",
        "encoder.ln.bias",
        "heads.head.weight",
        "heads.head.bias",
    }


def test_unknown_block_names_the_nearest() -> None:
    with pytest.raises(OptionError, match="there is no block 'layer5'") as caught:
        resnet(mode="finetune", unfreeze_from="layer5")
    assert "layer4" in caught.value.hint


@pytest.mark.parametrize("head", ["linear", "mlp:8", "flat-linear", "flat-mlp:8,4:dropout=0.1"])
@pytest.mark.parametrize("mode", MODES)
def test_a_frozen_base_learns_nothing_with_any_head(mode: str, head: str) -> None:
    trainable = lenet(mode=mode, head=head)
    own = {id(p) for p in trainable.head.parameters()}
    learns = {id(p) for p in trainable.network.parameters() if p.requires_grad}
    assert learns == (own if mode == "frozen" else {id(p) for p in trainable.network.parameters()})
    assert trainable.network(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


def test_auxiliary_heads_learn_from_scratch_only_and_are_taken_off_after() -> None:
    trainable = on_meta("googlenet", 5, 64, mode="scratch")
    assert trainable.network.aux1.fc2.out_features == 5  # type: ignore[union-attr]
    assert any(name.startswith("aux2.") for name in learning(trainable))
    stripped = trainable.strip()
    assert not any(name.startswith("aux") for name, _ in stripped.named_parameters())
    for mode in ("frozen", "finetune"):
        assert not any(
            n.startswith("aux") for n, _ in on_meta("googlenet", 5, 64, mode=mode).network.named_parameters()
        )


def test_squeezenets_hidden_layers_are_convolutions() -> None:
    trainable = trainable_of(
        resolve("squeezenet1_0", weights="random:0", size=64), TrainConfig(head="mlp:7", mode="frozen"), 3, (3, 64, 64)
    )
    assert isinstance(trainable.head[0], nn.Conv2d)  # type: ignore[index]
    assert trainable.network(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
    assert not trainable.alone


def test_too_small_a_size_says_the_least() -> None:
    with pytest.raises(OptionError, match="16 x 16 px") as caught:
        on_meta("alexnet", 3, 16)
    assert "size=63" in caught.value.hint  # torchvision's AlexNet has room for its last pooling from 63 px on
    on_meta("alexnet", 3, 63)


def test_a_network_of_one_size_says_it() -> None:
    backbone = resolve("vit_b_32", weights="random:0", size=32)
    with pytest.raises(OptionError, match="32 x 32 px") as caught:
        trainable_of(backbone, TrainConfig(mode="frozen"), 3, (3, 32, 32))
    assert "size=224" in caught.value.hint


class Helped(nn.Module):
    """A network whose auxiliary head wants larger images than the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.aux1 = nn.Sequential(nn.Conv2d(4, 4, 9), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
        self.fc = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.conv(x)
        out = self.fc(x.mean((2, 3)))
        return (out, self.aux1(x)) if self.training and self.aux1 is not None else out


def test_auxiliary_heads_that_want_larger_images_say_so() -> None:
    def trainable(mode: str, px: int) -> Any:
        return assemble(Helped().eval(), "fc", 4, TrainConfig(mode=mode), 2, (3, px, px))

    with pytest.raises(OptionError, match="auxiliary heads of Helped do not take images of 8 x 8 px") as caught:
        trainable("scratch", 8)
    assert "size=11" in caught.value.hint
    trainable("scratch", 11)
    trainable("finetune", 8)  # goes without them
