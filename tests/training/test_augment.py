"""Random flips and crops: right in shape and content, and decided by (seed, epoch, row) alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from featx.errors import OptionError
from featx.training.augment import PAD_FRACTION, Augment, Mix
from featx.training.config import TrainConfig

N = 64


def pixels(n: int = N, height: int = 16, width: int = 24) -> torch.Tensor:
    """Images in which no two pixels next to each other are alike, and none is black."""
    return torch.from_numpy(np.random.default_rng(0).integers(1, 256, (n, height, width, 3), np.uint8))


def apply(kind: str, x: torch.Tensor, rows: npt.ArrayLike, seed: int = 0, epoch: int = 1) -> torch.Tensor:
    return Augment(kind, N, seed, epoch)(x, np.asarray(rows, np.int64))


@pytest.mark.parametrize("kind", ["flip", "crop-flip"])
def test_batches_do_not_matter(kind: str) -> None:
    x, everything = pixels(), np.arange(N)
    whole = apply(kind, x, everything)
    for size in (1, 7, N):
        some = [apply(kind, x[r], r) for r in np.split(everything, range(size, N, size))]
        assert torch.equal(torch.cat(some), whole)
    shuffled = np.random.default_rng(1).permutation(N)
    assert torch.equal(apply(kind, x[shuffled], shuffled), whole[shuffled])


@pytest.mark.parametrize("kind", ["flip", "crop-flip"])
def test_seed_and_epoch_do(kind: str) -> None:
    x, rows = pixels(), np.arange(N)
    first = apply(kind, x, rows)
    assert torch.equal(apply(kind, x, rows), first)
    assert not torch.equal(apply(kind, x, rows, seed=1), first)
    assert not torch.equal(apply(kind, x, rows, epoch=2), first)


def test_flip_mirrors_left_and_right_of_about_half() -> None:
    x = pixels()
    flipped = [not torch.equal(a, b) for a, b in zip(apply("flip", x, np.arange(N)), x, strict=True)]
    assert N / 4 < sum(flipped) < 3 * N / 4
    for image, changed, was in zip(x, apply("flip", x, np.arange(N)), flipped, strict=True):
        assert torch.equal(changed, image.flip(1) if was else image)


def test_crop_is_a_window_of_the_padded_image_perhaps_mirrored() -> None:
    x = pixels()
    y_pad, x_pad = 16 // PAD_FRACTION, 24 // PAD_FRACTION
    changed = apply("crop-flip", x, np.arange(N))
    assert (changed.shape, changed.dtype) == (x.shape, torch.uint8)
    corners, mirrored = set(), 0
    for image, crop in zip(x, changed, strict=True):
        padded = torch.nn.functional.pad(image, (0, 0, x_pad, x_pad, y_pad, y_pad))
        found = [
            (top, left, flip)
            for top in range(2 * y_pad + 1)
            for left in range(2 * x_pad + 1)
            for flip in (False, True)
            if torch.equal(padded[top : top + 16, left : left + 24], crop.flip(1) if flip else crop)
        ]
        assert len(found) == 1
        corners.add(found[0][:2])
        mirrored += found[0][2]
    assert {top for top, _ in corners} == set(range(2 * y_pad + 1))  # every shift happens, the outermost too
    assert {left for _, left in corners} == set(range(2 * x_pad + 1))
    assert N / 4 < mirrored < 3 * N / 4


def test_none_changes_nothing() -> None:
    assert torch.equal(apply("none", pixels(), np.arange(N)), pixels())


@pytest.mark.parametrize("kind", ["none", "flip", "crop-flip"])
def test_the_images_given_are_left_as_they_are(kind: str) -> None:
    x = pixels()
    apply(kind, x, np.arange(N))
    assert torch.equal(x, pixels())


def test_tiny_and_grey_images_are_cropped_too() -> None:
    for shape in ((4, 1, 1, 1), (4, 3, 5, 1)):
        x = torch.full(shape, 9, dtype=torch.uint8)
        changed = apply("crop-flip", x, np.arange(4))
        assert changed.shape == x.shape
        assert set(changed.flatten().tolist()) <= {0, 9}


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(OptionError, match="crop-flip"):
        Augment("rotate", N, 0, 1)


POLICIES = ["trivial", "randaugment"]


@pytest.mark.parametrize("kind", POLICIES)
def test_policies_depend_on_seed_epoch_and_row_alone(kind: str) -> None:
    x, everything = pixels(12), np.arange(12)
    whole = Augment(kind, 12, 0, 1)(x, everything)
    assert (whole.shape, whole.dtype) == (x.shape, torch.uint8)
    torch.manual_seed(5)  # the caller's own random numbers play no part
    before = torch.random.get_rng_state()
    assert torch.equal(
        torch.cat([Augment(kind, 12, 0, 1)(x[i : i + 5], everything[i : i + 5]) for i in (0, 5, 10)]), whole
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(Augment(kind, 12, 0, 2)(x, everything), whole)
    cropped = Augment("crop-flip", 12, 0, 1)(x, everything)
    assert sum(not torch.equal(a, b) for a, b in zip(whole, cropped, strict=True)) > 4  # more than crop and flip


@pytest.mark.parametrize("kind", POLICIES)
def test_policies_take_grey_images(kind: str) -> None:
    x = pixels(8)[..., :1].contiguous()
    assert Augment(kind, 8, 0, 1)(x, np.arange(8)).shape == x.shape


def mixed(**options: float) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 8, 8).clone()
    return Mix(TrainConfig(**options), 4)(x, torch.arange(4))  # type: ignore[arg-type]


def test_without_mixing_all_is_as_it_was() -> None:
    x, y = mixed()
    assert x[:, 0, 0, 0].tolist() == y.tolist() == [0, 1, 2, 3]


def test_mixup_blends_images_as_it_blends_labels() -> None:
    x, y = mixed(mixup=1.0)
    torch.testing.assert_close(y.sum(1), torch.ones(4))
    # Image i is the number i throughout: the blended number is the labels' mean.
    torch.testing.assert_close(x[:, 0, 0, 0], y @ torch.arange(4.0))
    assert 0 < float(y.max(1).values.min()) < 1


def test_cutmix_labels_are_the_shares_of_the_pixels() -> None:
    x, y = mixed(cutmix=1.0)
    for image, shares in zip(x, y, strict=True):
        for label in range(4):
            assert float((image == label).float().mean()) == pytest.approx(float(shares[label]))
    assert len(x[0].unique()) == 2


def test_with_both_each_batch_has_one_of_them() -> None:
    kinds = set()
    mix = Mix(TrainConfig(mixup=1.0, cutmix=1.0), 4)
    torch.manual_seed(0)
    for _ in range(20):
        x = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 8, 8).clone()
        kinds.add(bool((mix(x, torch.arange(4))[0] % 1 == 0).all()))
    assert kinds == {True, False}
