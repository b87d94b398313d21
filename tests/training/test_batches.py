"""What the training loop eats: a part's images, or the features of a frozen base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import CPU, counted, drawn, explode, parts
from PIL import Image

from featx import load_source
from featx.cache.store import FeatureStore
from featx.core.specs import no_progress
from featx.data.arrays import ArraySource
from featx.data.splits import Part
from featx.errors import ImageError
from featx.extraction.compute import compute
from featx.extraction.forward import Normalize
from featx.models.backbones import Backbone, resolve
from featx.training import batches as loaders
from featx.training.augment import Augment
from featx.training.batches import FeatureLoader, ImageLoader, chunks, feature_loaders, image_loaders
from featx.training.config import TrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def lenet() -> Backbone:
    return resolve("lenet5", weights="random:0", channels=1)


def test_chunks_are_all_rows_in_order_and_the_last_may_be_smaller() -> None:
    assert [c.tolist() for c in chunks(np.array([5, 3, 9, 1, 0]), 2)] == [[5, 3], [9, 1], [0]]
    assert chunks(np.empty(0, np.int64), 2) == []


@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_images_of_the_asked_rows_normalised(lenet: Backbone, monkeypatch: pytest.MonkeyPatch, memory: int) -> None:
    monkeypatch.setattr(loaders, "MEMORY_BYTES", memory)
    source = drawn(9, channels=1)
    loader = ImageLoader(Part(source, np.array([1, 4, 5, 8])), lenet, 3, CPU)
    batches = list(loader.batches([np.array([3, 0]), np.array([2])], None))
    assert [rows.tolist() for rows, _ in batches] == [[3, 0], [2]]
    expected = Normalize(lenet.preprocess)(torch.from_numpy(source.images[[8, 1, 5]]))
    assert torch.equal(torch.cat([x for _, x in batches]), expected)


@pytest.mark.parametrize(("memory", "reads"), [(0, [0, 1, 2] * 2), (1 << 30, [0, 1, 2])])
def test_images_that_fit_are_decoded_once(
    lenet: Backbone, monkeypatch: pytest.MonkeyPatch, memory: int, reads: list[int]
) -> None:
    monkeypatch.setattr(loaders, "MEMORY_BYTES", memory)
    seen: list[int] = []
    monkeypatch.setattr(ArraySource, "__getitem__", counted(ArraySource.__getitem__, seen, lambda _, i: i))
    loader = ImageLoader(Part(drawn(5, channels=1), np.arange(3)), lenet, 2, CPU)
    for _ in range(2):
        list(loader.batches(chunks(np.arange(3), 2), None))
    assert sorted(seen) == sorted(reads)


@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_augmentation_knows_rows_by_their_place_in_the_part(
    lenet: Backbone, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(loaders, "MEMORY_BYTES", memory)
    source, luck = drawn(20, channels=1), Augment("crop-flip", 10, 0, 1)
    loader = ImageLoader(Part(source, np.arange(10, 20)), lenet, 4, CPU)
    order = np.random.default_rng(0).permutation(10)
    given = torch.cat([x for _, x in loader.batches(chunks(order, 4), luck)])
    changed = luck(torch.from_numpy(source.images[10:]), np.arange(10))
    assert torch.equal(given, Normalize(lenet.preprocess)(changed)[order])
    plain = torch.cat([x for _, x in loader.batches(chunks(order, 4), None)])
    assert torch.equal(plain, Normalize(lenet.preprocess)(torch.from_numpy(source.images[10:]))[order])


def test_feature_feed_gives_the_asked_rows_in_float32() -> None:
    X = np.arange(12, dtype=np.float16).reshape(4, 3)
    ((rows, x),) = FeatureLoader(Part(drawn(4), np.arange(4)), X, CPU).batches([np.array([3, 1])], None)
    assert rows.tolist() == [3, 1]
    assert x.dtype == torch.float32
    assert x.tolist() == [[9, 10, 11], [3, 4, 5]]


def test_parts_without_rows_have_no_loader(lenet: Backbone) -> None:
    partition, config = parts(drawn(6, channels=1), 6, 0), TrainConfig(mode="frozen")
    assert set(image_loaders(partition, lenet, config, CPU)[0]) == {"train"}
    assert set(feature_loaders(partition, lenet, "relu4", None, config, CPU, no_progress)[0]) == {"train"}


@pytest.mark.parametrize("stored", [False, True])
def test_features_are_what_the_head_takes(lenet: Backbone, tmp_path: Path, stored: bool) -> None:
    source = drawn(12, channels=1)
    partition, store = parts(source, 6, 2), FeatureStore(tmp_path) if stored else None
    found: Any = feature_loaders(partition, lenet, "relu4", store, TrainConfig(mode="frozen"), CPU, no_progress)[0]
    expected = compute(source, lenet, ["relu4"])["relu4"]
    assert list(found) == ["train", "val", "test"]
    for name, rows in (("train", slice(0, 6)), ("val", slice(6, 8)), ("test", slice(8, 12))):
        np.testing.assert_allclose(found[name].X.numpy(), expected[rows], rtol=1e-5, atol=1e-6)


def test_stored_features_are_computed_once(lenet: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partition, store = parts(drawn(6, channels=1), 4, 1), FeatureStore(tmp_path)
    config = TrainConfig(mode="frozen")
    feature_loaders(partition, lenet, "relu4", store, config, CPU, no_progress)
    monkeypatch.setattr("featx.extraction.forward.Forward.__call__", explode)
    feature_loaders(partition, lenet, "relu4", store, config, CPU, no_progress)
    with pytest.raises(AssertionError):
        feature_loaders(partition, lenet, "relu4", None, config, CPU, no_progress)


class Broken(ArraySource):
    """Images of which two cannot be decoded."""

    def __getitem__(self, i: int) -> Any:
        if i in (2, 5):
            raise ImageError(f"image {self.ids[i]} is broken")
        return super().__getitem__(i)


@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_broken_images_are_left_out_where_that_was_asked_for(
    lenet: Backbone, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(loaders, "MEMORY_BYTES", memory)
    whole = drawn(8, channels=1)
    source = Broken(whole.images, whole.labels, classes=whole.classes)
    loader = ImageLoader(Part(source, np.arange(1, 8)), lenet, 3, CPU, "skip")
    assert loader.part.rows.tolist() == [1, 3, 4, 6, 7]
    assert [image["id"] for image in loader.skipped] == [source.ids[2], source.ids[5]]
    (x,) = [x for _, x in loader.batches([np.arange(5)], None)]
    assert torch.equal(x, Normalize(lenet.preprocess)(torch.from_numpy(whole.images[[1, 3, 4, 6, 7]])))
    with pytest.raises(ImageError):
        list(ImageLoader(Part(source, np.arange(8)), lenet, 3, CPU).batches([np.arange(8)], None))


@pytest.mark.parametrize("stored", [False, True])
def test_broken_images_are_left_out_of_a_frozen_base_s_features(tmp_path: Path, stored: bool) -> None:
    for i in range(6):
        image = Image.fromarray(np.full((32, 32, 3), 40 * i, np.uint8))
        (tmp_path / "images" / f"class{i % 2}").mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "images" / f"class{i % 2}" / f"{i}.png")
    (tmp_path / "images" / "class1" / "3.png").write_bytes(b"no image")
    source, backbone = load_source(tmp_path / "images"), resolve("lenet5", weights="random:0")
    partition, store = parts(source, 4, 1), FeatureStore(tmp_path / "home") if stored else None
    config = TrainConfig(mode="frozen", on_error="skip")
    found, skipped = feature_loaders(partition, backbone, "relu4", store, config, CPU, no_progress)
    assert [image["id"] for image in skipped] == ["class1/3.png"]
    left = {name: [source.ids[row] for row in loader.part.rows] for name, loader in found.items()}
    bad = source.ids.index("class1/3.png")
    expected = {n: [source.ids[r] for r in p.rows if r != bad] for n, p in partition.parts().items()}
    assert left == expected
    assert [len(loader.X) for loader in found.values()] == [len(ids) for ids in left.values()]
    strict = TrainConfig(mode="frozen")
    with pytest.raises(ImageError):
        feature_loaders(partition, backbone, "relu4", store, strict, CPU, no_progress)
