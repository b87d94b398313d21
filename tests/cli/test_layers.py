"""``featx layers`` on small networks."""

from __future__ import annotations

from typing import Any


def test_nodes_come_with_shape_bytes_and_multiply_adds(featx_json: Any) -> None:
    code, document = featx_json("layers", "lenet5")
    assert code == 0
    assert (document["backbone"], document["size"]) == ("lenet5", 32)
    nodes = {node["name"]: node for node in document["layers"]}
    # conv1 of LeNet-5 on RGB: 6 kernels of 3 x 5 x 5 at 28 x 28 places.
    assert nodes["conv1"]["shape"] == [6, 28, 28]
    assert nodes["conv1"]["bytes"] == 4 * 6 * 28 * 28
    assert nodes["conv1"]["pooled_bytes"] == 4 * 6
    assert nodes["conv1"]["macs"] == 6 * 3 * 5 * 5 * 28 * 28


def test_size_changes_the_shapes(featx_json: Any) -> None:
    _, document = featx_json("layers", "pixels", "--size", "8")
    assert document["layers"] == [{"name": "pixels", "shape": [3, 8, 8], "bytes": 768, "pooled_bytes": 12, "macs": 0}]


def test_pixels_without_a_size_asks_for_one(featx: Any) -> None:
    result = featx("layers", "pixels")
    assert result.exit_code == 2
    assert "--size" in result.stderr


def test_mistyped_backbone_suggests_the_near_one(featx: Any) -> None:
    result = featx("layers", "resnt18")
    assert result.exit_code == 2
    assert "did you mean resnet18" in result.stderr


def test_table_for_people(featx: Any) -> None:
    lines = featx("layers", "lenet5").stdout.splitlines()
    assert lines[0].split() == ["layer", "shape", "flat", "pooled", "multiply-adds"]
    assert lines[1].split() == ["conv1", "6x28x28", "18.8", "kB", "24", "B", "353", "K"]


def test_default_layer_is_told(featx: Any, featx_json: Any) -> None:
    assert featx("layers", "resnet18", "--size", "32").stdout.splitlines()[-1].startswith("default layer: avgpool")
    assert featx_json("layers", "squeezenet1_1", "--size", "64")[1]["default_layer"] == "features.12.cat:avg"
    assert featx_json("layers", "pixels", "--size", "8")[1]["default_layer"] is None


def test_layers_that_small_images_reach_are_listed(featx: Any, featx_json: Any) -> None:
    code, document = featx_json("layers", "densenet121", "--size", "16")
    assert code == 0
    assert "16 x 16 px" in document["unfit"]
    names = [node["name"] for node in document["layers"]]
    assert "features.denseblock1" in names
    assert "classifier" not in names
    assert "later layers are not listed" in featx("layers", "densenet121", "--size", "16").stderr


def test_stem_changes_the_first_layers(featx: Any, featx_json: Any) -> None:
    nodes = featx_json("layers", "resnet18", "--stem", "cifar", "--size", "32")[1]["layers"]
    assert next(node["shape"] for node in nodes if node["name"] == "maxpool") == [64, 32, 32]
    assert featx("layers", "vgg16", "--stem", "cifar").exit_code == 2
