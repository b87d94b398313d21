"""Constant, blurred, grey and oddly sized images are found among drawn ones, and only they."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from featx import load_source
from featx.audit.oddities import find_odd_images, measure, measure_images, modified_z


def drawn(seed: int, width: int = 48, height: int = 40) -> Image.Image:
    """A coloured picture with edges."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (10, 12, 3), np.uint8)
    noise = rng.integers(-8, 9, (height, width, 3))
    large = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST)).astype(int)
    return Image.fromarray(np.clip(large + noise, 0, 255).astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = {f"{seed:02}": drawn(seed) for seed in range(30)}
    pictures["blurred"] = drawn(30).filter(ImageFilter.GaussianBlur(3))
    pictures["constant"] = Image.new("RGB", (48, 40), (200, 30, 30))
    pictures["dark"] = drawn(31).point(lambda value: value // 8)
    pictures["grey"] = drawn(32).convert("L").convert("RGB")
    pictures["wide"] = Image.fromarray(np.concatenate([np.asarray(drawn(seed)) for seed in range(40, 48)], axis=1))
    root = tmp_path / "pictures" / "thing"
    root.mkdir(parents=True)
    for name, picture in pictures.items():
        picture.save(root / f"{name}.png")
    (root / "broken.png").write_bytes((root / "00.png").read_bytes()[:60])
    return root.parent


def test_odd_images_are_found_by_kind_and_no_others(folder: Path) -> None:
    source = load_source(str(folder))
    facts = measure_images(source, workers=2)
    found = find_odd_images(facts, source.ids, ["all"] * len(source))
    assert {(Path(one.id).stem, one.kind) for one in found} == {
        ("broken", "broken"),
        ("constant", "constant"),
        ("blurred", "blurred"),
        ("grey", "almost grey"),
        ("wide", "size"),
    }
    assert next(one for one in found if one.kind == "size").value == "384 x 40 px"
    (row,) = np.flatnonzero(np.isnan(facts).all(axis=1))
    assert source.ids[int(row)].endswith("broken.png")


def test_where_all_are_constant_all_are_told() -> None:
    facts = np.array([measure(np.full((9, 9, 3), value, np.uint8)) for value in range(4)])
    found = find_odd_images(facts, list("abcd"), ["all"] * 4)
    assert [(one.id, one.kind) for one in found] == [(name, "constant") for name in "abcd"]


def test_grey_images_of_a_grey_source_are_not_odd() -> None:
    facts = np.array([measure(np.asarray(drawn(seed).convert("L"))[..., None]) for seed in range(20)])
    assert find_odd_images(facts, [str(row) for row in range(20)], ["all"] * 20) == []


def test_sharpness_does_not_depend_on_contrast_and_falls_with_blur() -> None:
    picture = drawn(0, 200, 160).convert("L")
    plain = np.asarray(picture)[..., None]
    faint = (plain // 4 + 90).astype(np.uint8)
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(2)))[..., None]
    assert measure(faint).sharpness == pytest.approx(measure(plain).sharpness, rel=0.05)
    assert measure(soft).sharpness < 0.2 * measure(plain).sharpness


def test_a_photo_is_measured_at_the_scale_of_small_ones() -> None:
    small = drawn(0, 512, 512)
    large = small.resize((1024, 1024), Image.Resampling.NEAREST)
    assert measure(np.asarray(large)).sharpness == pytest.approx(measure(np.asarray(small)).sharpness, rel=1e-3)


def test_a_modified_z_score_is_robust_and_knows_values_that_are_mostly_equal() -> None:
    normal = np.random.default_rng(0).normal(size=10_000)
    normal[0] = 1e6
    assert modified_z(normal)[1:].std() == pytest.approx(1, abs=0.05)
    assert modified_z(np.array([5.0] * 99 + [6.0]))[-1] > 3.5
    assert modified_z(np.full(9, 5.0)).tolist() == [0.0] * 9
