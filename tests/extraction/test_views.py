"""Averaged views of an image: the values of torchvision's own crops, a key of their own, and refusals by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import explode
from torchvision import transforms
from torchvision.models import VisionTransformer

from featx import FeatureExtractor
from featx.core.hashing import digest_of
from featx.core.specs import ExtractConfig, LayerSpec, PreprocessSpec, Views
from featx.data.arrays import ArraySource
from featx.data.contact_sheet import draw_sheet, shown_images
from featx.data.decoding import prepare, prepare_views
from featx.data.splits import Part, Partition
from featx.errors import OptionError
from featx.extraction.compute import compute
from featx.extraction.extract import feature_key
from featx.models.backbones import Backbone, resolve
from featx.training.config import TrainConfig
from featx.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

NETWORK, LAYER = "squeezenet1_1", "features.4"
PX, RESIZED = 48, 55  # 48 * 8 / 7
WIDE = np.random.default_rng(3).integers(0, 256, (5, 60, 75, 3), np.uint8)
SPEC = PreprocessSpec(12, 8)


def backbone(**how: Any) -> Backbone:
    return resolve(NETWORK, weights="random:0", size=PX, views=Views(**how))


def features(images: Any, layer: str = f"{LAYER}:avg", **how: Any) -> Any:
    return FeatureExtractor(NETWORK, layer, weights="random:0", size=PX, **how).transform(images)


def by_hand(images: Any, resized: int, px: int, crop: Any) -> Any:
    """Return the mean of a layer over torchvision's crops, each through the plain network."""
    network, seen = backbone().module(), []
    network.get_submodule(LAYER).register_forward_hook(lambda m, args, out: seen.append(out.mean((2, 3))))
    spec = PreprocessSpec(1, 1)
    ready = transforms.Compose([transforms.ToTensor(), transforms.Normalize(spec.mean, spec.std)])
    rows = []
    for image in images:
        cut = crop(px)(transforms.Resize(resized)(transforms.ToPILImage()(image)))
        with torch.no_grad():
            network(torch.stack([ready(one) for one in (cut if isinstance(cut, tuple) else (cut,))]))
        rows.append(seen.pop().mean(0).numpy())
    return np.stack(rows)


def mirrored(px: int) -> Any:
    centre = transforms.CenterCrop(px)
    return lambda picture: (centre(picture), transforms.functional.hflip(centre(picture)))


@pytest.mark.parametrize(
    ("how", "resized", "crop"),
    [
        ({"crops": 5}, RESIZED, transforms.FiveCrop),
        ({"crops": 10}, RESIZED, transforms.TenCrop),
        ({"crops": 5, "flip": True}, RESIZED, transforms.TenCrop),
        ({"flip": True}, PX, mirrored),
    ],
    ids=["5", "10", "5 and flip", "flip"],
)
def test_features_are_the_mean_over_torchvisions_crops(how: dict[str, Any], resized: int, crop: Any) -> None:
    expected = by_hand(WIDE, resized, PX, crop)
    found = features(WIDE, **how)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    plain = features(WIDE)
    assert np.abs(found - plain).max() > 1e-3 * np.abs(expected).max(), "views that change nothing prove nothing"


def test_scales_are_averaged_with_all_their_views() -> None:
    each = [by_hand(WIDE, *sizes, transforms.TenCrop) for sizes in ((RESIZED, PX), (69, 60))]  # 68.75 -> 69
    expected = (each[0] + each[1]) / 2
    found = features(WIDE, crops=10, scales=[1, 1.25])
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_crops_of_weights_that_resize_to_more_are_cut_out_of_that() -> None:
    spec = resolve("resnet18", weights="random:0", views=Views(5)).preprocess
    assert (spec.resize, spec.crop) == (256, 224)
    assert (backbone(crops=5).preprocess.resize, backbone().preprocess.resize) == (RESIZED, PX)


def test_mirrored_symmetric_images_give_the_plain_features() -> None:
    half = np.random.default_rng(1).integers(0, 256, (3, PX, PX // 2, 3), np.uint8)
    symmetric = np.concatenate([half, half[:, :, ::-1]], axis=2)
    np.testing.assert_array_equal(features(symmetric, flip=True), features(symmetric))
    assert not np.array_equal(features(WIDE, flip=True), features(WIDE))


@pytest.mark.parametrize(("workers", "batch_size"), [(1, 5), (3, 2), (2, 1)])
def test_neither_workers_nor_batches_change_a_feature(workers: int, batch_size: int) -> None:
    views = {"crops": 10, "scales": (0.75, 1)}
    config = ExtractConfig(workers=workers, batch_size=batch_size)
    found = compute(ArraySource(WIDE), backbone(**views), [f"{LAYER}:avg"], config)[f"{LAYER}:avg"]
    expected = features(WIDE, **views)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_an_image_is_decoded_once_whatever_the_views() -> None:
    read = []

    class Counted(ArraySource):
        def __getitem__(self, i: int) -> Any:
            read.append(i)
            return super().__getitem__(i)

    compute(Counted(WIDE), backbone(crops=10, scales=(1, 1.25)), [f"{LAYER}:avg"])
    assert sorted(read) == [0, 1, 2, 3, 4]


def test_each_pass_has_no_more_images_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    whole = torch.fx.GraphModule.__call__
    counted = lambda self, x: (sizes.append(len(x)), whole(self, x))[1]  # noqa: E731
    monkeypatch.setattr("torch.fx.GraphModule.__call__", counted)
    compute(ArraySource(WIDE), backbone(crops=10), [f"{LAYER}:avg"], ExtractConfig(batch_size=2))
    assert [n for n in sizes if n <= 2] == [2] * 20 + [1] * 10
    assert max(sizes) <= 2


# Keys


def test_every_choice_of_views_has_a_key_of_its_own() -> None:
    source = ArraySource(WIDE)
    ways: list[dict[str, Any]] = [{}, {"flip": True}, {"scales": (1, 1.25)}, {"scales": (1.25,)}, {"scales": (1, 1.5)}]
    ways += [{**way, "crops": 5} for way in ways]
    keys = {feature_key(source, backbone(**w), LayerSpec("layer1", "avg"), ExtractConfig()).digest for w in ways}
    assert len(keys) == len(ways)


def test_ten_crops_are_five_with_their_mirror_images() -> None:
    assert Views(10) == Views(5, flip=True) == Views(10, flip=True)
    assert Views(scales=(1.25, 1)) == Views(scales=(1, 1.25))


def test_a_key_names_only_what_is_not_plain() -> None:
    assert SPEC.as_dict()["views"] == {}
    views = Views(10, scales=(1, 1.25))
    spec = replace(SPEC, views=views)
    assert spec.as_dict()["views"] == {"crops": 5, "flip": True, "scales": [1.0, 1.25]}
    assert PreprocessSpec.from_dict(spec.as_dict()) == spec
    assert digest_of(spec.as_dict()) != digest_of(SPEC.as_dict())
    assert (str(views), str(Views())) == ("5 crops, flip, scales 1,1.25", "")


# Refusals


@pytest.mark.parametrize(
    "how",
    [
        {"crops": 2},
        {"crops": "5"},
        {"crops": -1},
        {"flip": "yes"},
        {"scales": ()},
        {"scales": (0,)},
        {"scales": (-1.0,)},
        {"scales": (float("nan"),)},
        {"scales": (1, 1.0)},
        {"scales": ("1",)},
        {"scales": (1, 100)},
    ],
    ids=str,
)
def test_views_that_do_not_exist_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(how))):
        Views(**how)


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_crops_of_a_whole_image_make_no_sense(fit: str) -> None:
    with pytest.raises(OptionError, match=f"crops=5 .*resize='{fit}' keeps the whole image"):
        resolve(NETWORK, weights="random:0", size=PX, resize=fit, views=Views(5))
    assert resolve(NETWORK, weights="random:0", size=PX, resize=fit, views=Views(flip=True, scales=(1, 2)))


def test_without_a_size_there_are_mirror_images_and_nothing_else() -> None:
    plain = features_of_pixels(flip=True)
    np.testing.assert_allclose(plain, _both_sides(WIDE), rtol=1e-5, atol=1e-6)
    for how in ({"crops": 5}, {"scales": (1, 2)}):
        with pytest.raises(OptionError, match=f"{next(iter(how))}=") as caught:
            features_of_pixels(**how)
        assert "size=..." in caught.value.hint
    with pytest.raises(OptionError, match="resize='none'"):
        resolve(NETWORK, weights="random:0", resize="none", views=Views(5))


def _both_sides(images: Any) -> Any:
    return (images / 510 + images[:, :, ::-1] / 510).transpose(0, 3, 1, 2).reshape(len(images), -1)


def features_of_pixels(**how: Any) -> Any:
    return FeatureExtractor("pixels", "pixels", **how).transform(WIDE)


def test_scales_of_one_size_are_refused() -> None:
    with pytest.raises(OptionError, match=r"scales=\(1, 1\.01\) of 8 px give 8, 8 px"):
        replace(SPEC, views=Views(scales=(1, 1.01)))
    with pytest.raises(OptionError, match="expected 1 to 16384"):
        replace(PreprocessSpec(4096, 4096), views=Views(scales=(1, 7)))


def test_rows_of_another_length_are_refused_and_name_the_pooling() -> None:
    with pytest.raises(OptionError, match=r"layer features\.4 gives 15488 and, at 96 px, 67712 values") as caught:
        features(WIDE, LAYER, scales=(1, 2))
    assert f"{LAYER}:avg" in caught.value.hint


@pytest.mark.parametrize("pool", ["avg", "max", "avg2"])
def test_every_pooling_to_a_fixed_length_takes_scales(pool: str) -> None:
    alone = [features(WIDE, f"{LAYER}:{pool}", scales=[scale]) for scale in (1, 2)]
    np.testing.assert_allclose(
        features(WIDE, f"{LAYER}:{pool}", scales=(1, 2)), np.mean(alone, axis=0), rtol=1e-4, atol=1e-5
    )


def test_a_network_of_one_size_is_refused_by_the_size_it_cannot_take() -> None:
    vit = replace(backbone(scales=(1, 1.25)), name="vit", origin="")
    object.__setattr__(vit, "module", lambda: VisionTransformer(PX, 8, 1, 2, 16, 32).eval())
    with pytest.raises(OptionError, match="60 x 60 px") as caught:
        compute(ArraySource(WIDE), vit, ["encoder:cls"])
    assert "scales=" in caught.value.hint


def test_training_sees_one_view() -> None:
    source = ArraySource(WIDE, np.array([0, 1, 0, 1, 1]))
    part = Part(source, np.arange(5))
    with pytest.raises(OptionError, match="training sees one view of an image, and 5 crops were asked for"):
        train(Partition(part, part, part, 0), backbone(crops=5), TrainConfig(device="cpu"))


# The sheet


def test_views_are_the_centre_then_the_corners() -> None:
    spec = replace(SPEC, views=Views(5))
    image = WIDE[0][:12, :16]  # 12 px is what it is resized to
    centre, *corners = prepare_views(image, spec, "x")
    np.testing.assert_array_equal(centre, image[2:10, 4:12])
    for corner, expected in zip(corners, (image[:8, :8], image[:8, -8:], image[-8:, :8], image[-8:, -8:]), strict=True):
        np.testing.assert_array_equal(corner, expected)
    np.testing.assert_array_equal(prepare(image, spec, "x"), centre)


@pytest.mark.parametrize("views", [Views(flip=True), Views(5), Views(10), Views(10, scales=(1, 1.25))], ids=str)
def test_every_view_has_a_tile(views: Views, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("matplotlib.axes.Axes.imshow", lambda self, picture, **how: drawn.append(picture))
    spec = replace(SPEC, views=views)
    draw_sheet(ArraySource(WIDE[:1]), spec, images=1, seed=0, title="x")
    cut = list(prepare_views(WIDE[0], spec, "x"))
    expected = [side for view in cut for side in ((view, view[:, ::-1]) if views.flip else (view,))]
    assert len(drawn) == len(expected)
    assert all(np.array_equal(a, b) for a, b in zip(drawn, expected, strict=True))


def test_a_sheet_of_many_views_shows_fewer_images() -> None:
    assert shown_images(400, SPEC) == shown_images(400, None) == 400
    assert shown_images(400, replace(SPEC, views=Views(10))) == 12
    assert shown_images(3, replace(SPEC, views=Views(10))) == 3


def test_features_in_a_store_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = features(WIDE, crops=5, scales=(1, 1.25), store=tmp_path)
    assert not np.array_equal(features(WIDE, store=tmp_path), first)
    monkeypatch.setattr("featx.extraction.forward.Forward.__call__", explode)
    np.testing.assert_array_equal(features(WIDE, crops=5, scales=(1, 1.25), store=tmp_path), first)
