"""Images of the same shot agree once they are aligned, whatever was done to one of them; others do not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image
from textures import CHANGES, pixels, shifted, texture

from featx.audit.same_shot import Match, match
from featx.audit.thumbnails import lightness, thumbnail

N = 24
FAR = 0.75
"""A score between those of the same shot and all others, of images that are drawn so; photographs need more."""


def matched(first: Sequence[Image.Image], second: Sequence[Image.Image]) -> Match:
    light = lightness(np.stack([thumbnail(pixels(image)) for image in [*first, *second]]))
    return match(lambda rows: light[rows], np.arange(len(first)), np.arange(len(first), len(light)))


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_image_is_of_the_same_shot(change: str) -> None:
    rng = np.random.default_rng(1)
    images = [texture(rng) for _ in range(N)]
    found = matched(images, [CHANGES[change](image) for image in images])
    assert (found.score >= FAR).mean() >= 0.9
    assert (found.mirrored == ("mirror" in change))[found.score >= FAR].all()


def test_what_comes_in_where_an_image_was_shifted_does_not_count() -> None:
    rng = np.random.default_rng(4)
    images = [texture(rng) for _ in range(N)]
    assert (matched(images, [shifted(image, 3, -3) for image in images]).score >= 0.8).mean() >= 0.9


def test_images_that_share_their_colours_and_shapes_but_no_details_are_not() -> None:
    rng = np.random.default_rng(2)
    images = [texture(rng) for _ in range(N)]
    # Blurred to what a look-alike shares, with another image's details.
    alike = [
        Image.blend(image.resize((4, 4)).resize((32, 32), Image.Resampling.BICUBIC), other, 0.5)
        for image, other in zip(images, images[1:] + images[:1], strict=True)
    ]
    other = matched(images, images[1:] + images[:1])
    assert other.score.max() < FAR
    assert matched(images, alike).score.max() < FAR


def test_how_much_larger_one_shows_things_is_told() -> None:
    rng = np.random.default_rng(3)
    images = [texture(rng, 64) for _ in range(N)]
    larger = [image.crop((6, 6, 58, 58)).resize((64, 64), Image.Resampling.BICUBIC) for image in images]
    assert np.median(matched(images, larger).zoom) == pytest.approx(64 / 52, abs=0.02)
    assert np.median(matched(larger, images).zoom) == pytest.approx(52 / 64, abs=0.02)


def test_flat_images_agree_in_nothing() -> None:
    flat = [Image.new("RGB", (32, 32), "grey")] * 2
    assert matched(flat, flat).score.tolist() == [0, 0]


def horizon(rng: np.random.Generator) -> Image.Image:
    """Draw a sky over a sea: one line, a little noise, and nothing else."""
    height, sky, sea = rng.integers(14, 18), rng.uniform(150, 230), rng.uniform(20, 90)
    picture = np.where(np.arange(32)[:, None, None] < height, sky, sea) + rng.normal(0, 5, (32, 32, 1))
    return Image.fromarray(np.broadcast_to(picture.clip(0, 255).astype(np.uint8), (32, 32, 3)))


def test_two_horizons_are_not_the_same_shot() -> None:
    rng = np.random.default_rng(5)
    seas = [horizon(rng) for _ in range(N)]
    found = matched(seas, seas[1:] + seas[:1])
    assert found.details.min() > 0.85  # along the line all of them agree
    assert found.score.max() < FAR
    assert matched(seas, seas).score == pytest.approx(1, abs=1e-3)
