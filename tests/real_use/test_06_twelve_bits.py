"""Twelve bits in sixteen are no black image: what files state is honoured, what they do not is warned of or told."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from command import featx
from PIL import Image

from featx.cache.store import FeatureStore
from featx.core.specs import BackboneConfig, ExtractConfig, LayerSpec, PreprocessSpec
from featx.data.decoding import decode
from featx.data.depth import content_digest, stated_bits
from featx.data.sources import load_source, load_splits
from featx.errors import FeatxWarning, ImageError, OptionError
from featx.extraction.extract import extract, feature_key
from featx.extraction.extractor import FeatureExtractor
from featx.models.backbones import resolve

RNG = np.random.default_rng(0)
TWELVE = RNG.integers(0, 1 << 12, (16, 24)).astype(np.uint16)
TWELVE[0, 0] = 4095
COLOURS = {"grey": (0, 1), "RGB": (2, 3), "grey and alpha": (4, 2), "RGBA": (6, 4)}


def png(pixels: Any, colour_type: int, sbit: int | None = None) -> bytes:
    """Write a PNG of 16 bits by hand: Pillow writes neither colour of 16 bits nor sBIT."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    said = b"" if sbit is None else chunk(b"sBIT", bytes([sbit] * channels))
    lines = b"".join(b"\0" + line.tobytes() for line in pixels.astype(">u2"))
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", head) + said + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(pixels: Any, order: str = "<", planes: int = 1, **tags: int) -> bytes:
    """Write an uncompressed TIFF of 16 bits by hand: ``t341=4095`` adds a tag."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    laid = np.moveaxis(pixels, 2, 0) if planes == 2 and channels > 1 else pixels
    body = laid.astype(f"{order}u2").tobytes()
    count = channels if planes == 2 else 1
    at = [8 + i * len(body) // count for i in range(count)]
    entries = {256: [pixels.shape[1]], 257: [pixels.shape[0]], 258: [16] * channels, 259: [1]}
    entries |= {262: [1 if channels == 1 else 2], 273: at, 277: [channels], 278: [pixels.shape[0]]}
    entries |= {279: [len(body) // count] * count, 284: [planes]}
    entries |= {int(name[1:]): [value] for name, value in tags.items()}
    directory, more = b"", b""
    start = 8 + len(body)
    after = start + 2 + 12 * len(entries) + 4
    for tag, values in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            packed, more = struct.pack(order + "I", after + len(more)), more + packed
        directory += struct.pack(order + "HHI", tag, 4, len(values)) + packed
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    return head + body + struct.pack(order + "H", len(entries)) + directory + bytes(4) + more


def rgb(values: Any) -> Any:
    return np.repeat(values[..., None], 3, axis=2).astype(np.uint8)


def colour(kind: str, high: int = 1 << 12) -> tuple[int, Any, Any]:
    """Return a PNG's colour type, pixels, and those of them that are seen."""
    colour_type, channels = COLOURS[kind]
    pixels = np.random.default_rng(1).integers(0, high, (9, 7, channels)).astype(np.uint16)
    if channels % 2 == 0:
        pixels[..., -1] = 0xFFFF
    return colour_type, pixels, pixels[..., :3] if channels > 2 else np.repeat(pixels[..., :1], 3, axis=2)


# What files state


@pytest.mark.parametrize("kind", sorted(COLOURS))
def test_a_pngs_sbit_is_honoured(kind: str) -> None:
    colour_type, pixels, seen = colour(kind)
    np.testing.assert_array_equal(decode(png(pixels, colour_type, 12), "x"), seen >> 4)


@pytest.mark.parametrize("kind", sorted(COLOURS))
def test_a_png_that_is_stretched_as_its_standard_says_is_not_stretched_again(kind: str) -> None:
    colour_type, pixels, seen = colour(kind, 1 << 16)
    np.testing.assert_array_equal(decode(png(pixels, colour_type, 12), "x"), seen >> 8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tag", ["t341", "t281"])
def test_a_tiffs_largest_value_is_honoured(tag: str, order: str) -> None:
    found = decode(tiff(TWELVE, order, **{tag: 4095}), "x")
    np.testing.assert_array_equal(found, rgb(TWELVE >> 4))
    assert found.max() == 255


def test_twelve_bits_packed_in_a_tiff_are_honoured() -> None:
    pairs = TWELVE.astype(np.uint32).reshape(-1, 2)
    triples = (pairs[:, 0] << 12 | pairs[:, 1]).astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:]
    data = bytearray(tiff(TWELVE))
    at = data.index(struct.pack("<HHI", 258, 4, 1))
    data[at + 8 : at + 12] = struct.pack("<I", 12)
    data[8 : 8 + triples.size] = triples.tobytes()
    np.testing.assert_array_equal(decode(bytes(data), "x"), rgb(TWELVE >> 4))


def test_a_statement_that_values_contradict_is_none() -> None:
    deep = RNG.integers(0, 1 << 16, (8, 8)).astype(np.uint16)
    deep[0, 0] = 0xFFFF
    np.testing.assert_array_equal(decode(tiff(deep, t341=4095), "x"), rgb(deep >> 8))


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
def test_colour_tiffs_keep_the_bits_that_count(order: str, planes: int) -> None:
    pixels = RNG.integers(0, 1 << 12, (9, 7, 3)).astype(np.uint16)
    np.testing.assert_array_equal(decode(tiff(pixels, order, planes, t341=4095), "x"), pixels >> 4)
    deep = RNG.integers(0, 1 << 16, (9, 7, 3)).astype(np.uint16)
    np.testing.assert_array_equal(decode(tiff(deep, order, planes), "x"), deep >> 8)


@pytest.mark.parametrize("kind", ["PPM", "JPEG2000"])
def test_formats_that_state_their_depth_are_stretched_once(kind: str) -> None:
    if kind == "PPM":
        data = b"P5\n24 16\n4095\n" + TWELVE.astype(">u2").tobytes()
    else:
        buffer = io.BytesIO()
        Image.fromarray(TWELVE << 4).save(buffer, kind)
        data = buffer.getvalue()
    found = decode(data, "x", bits=None if kind == "JPEG2000" else 12)
    np.testing.assert_allclose(found.astype(int), rgb(TWELVE >> 4).astype(int), atol=1)


# What they do not


@pytest.mark.parametrize("data", [tiff(TWELVE), png(TWELVE, 0), png(colour("RGB")[1], 2)], ids=["TIFF", "PNG", "RGB"])
def test_where_no_value_reaches_4096_there_is_a_warning(data: bytes) -> None:
    with pytest.warns(FeatxWarning, match=r"image cat/7\.png .*no value reaches 4,096.*bits=12"):
        assert decode(data, "cat/7.png").max() < 16


@pytest.mark.parametrize("largest", [0, 4096, 0xFFFF])
def test_other_images_get_none(largest: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(tiff(np.full((4, 4), largest, np.uint16)), "x")
        decode(tiff(TWELVE, t341=4095), "x")


def test_many_such_images_are_one_warning_and_one_at_each_tenfold(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    for i in range(25):
        (tmp_path / "cat" / f"{i:02}.tif").write_bytes(tiff(np.roll(TWELVE, i)))
    source = load_source(tmp_path)
    with pytest.warns(FeatxWarning) as caught:
        list(map(source.__getitem__, range(25)))
    assert [str(w.message).split(" has ")[0] for w in caught if "no value" in str(w.message)] == [
        "image cat/00.tif",
        "image cat/09.tif (and 9 before it)",
    ]


def test_images_that_state_different_depths_are_said_to_be_scaled_apart(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.tif").write_bytes(tiff(TWELVE, t341=4095))
    (tmp_path / "cat" / "2.tif").write_bytes(tiff(TWELVE >> 2, t341=1023))
    source = load_source(tmp_path)
    source[0]
    with pytest.warns(FeatxWarning, match=r"image cat/2\.tif uses 10 of its 16 bits, other"):
        source[1]


# What the user decides


@pytest.mark.parametrize("kind", sorted(COLOURS))
@pytest.mark.parametrize("sbit", [None, 10])
def test_bits_decide(kind: str, sbit: int | None) -> None:
    colour_type, pixels, seen = colour(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decode(png(pixels, colour_type, sbit), "x", bits=12), seen >> 4)
        np.testing.assert_array_equal(decode(png(pixels, colour_type, sbit), "x", bits=16), seen >> 8)
    with pytest.raises(ImageError, match=r"bits=11 allows at most 2,047"):
        decode(png(pixels, colour_type, sbit), "x", bits=11)


def test_bits_leave_eight_bit_images_alone() -> None:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (9, 9, 3), np.uint8)).save(buffer, "PNG")
    np.testing.assert_array_equal(decode(buffer.getvalue(), "x", bits=12), decode(buffer.getvalue(), "x"))


def test_bits_of_a_format_that_keeps_only_eight_are_refused_and_not_ignored() -> None:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(16, 256, (9, 9, 3), np.uint8)).save(buffer, "SGI", bpc=2)
    data = buffer.getvalue()
    np.testing.assert_array_equal(decode(data, "x", bits=16), decode(data, "x"))
    with pytest.raises(ImageError, match="only the upper eight can be read"):
        decode(data, "x", bits=12)


def test_bits_are_in_the_key_where_they_are_given_and_only_there(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.tif").write_bytes(tiff(TWELVE))
    source, layer = load_source(tmp_path), LayerSpec("pool2", "avg")
    keys = {}
    for bits in (None, 12, 16):
        network = resolve("lenet5", weights="random:0", bits=bits)
        keys[bits] = feature_key(source, network, layer, ExtractConfig())
    assert len({key.digest for key in keys.values()}) == 3
    assert "bits" not in keys[None].preprocess
    assert keys[12].preprocess["bits"] == 12
    assert PreprocessSpec.from_dict(json.loads(json.dumps(keys[12].preprocess))).bits == 12


@pytest.mark.filterwarnings("ignore::featx.errors.FeatxWarning")
def test_features_are_those_of_the_bits_that_were_asked_for(tmp_path: Path) -> None:
    for name, shift in (("twelve", 0), ("sixteen", 4)):
        (tmp_path / name / "cat").mkdir(parents=True)
        (tmp_path / name / "cat" / "1.tif").write_bytes(tiff(TWELVE << shift))
    found = {}
    for name, bits in (("twelve", 12), ("sixteen", None), ("twelve", None)):
        network = resolve("lenet5", weights="random:0", bits=bits)
        result = extract(load_splits(tmp_path / name), network, ["pool2:avg"], FeatureStore(tmp_path / "h"))
        found[name, bits] = result.tables["all", "pool2:avg"].X[:]
    np.testing.assert_array_equal(found["twelve", 12], found["sixteen", None])
    assert np.abs(found["twelve", 12] - found["twelve", None]).max() > 0.01
    alone = FeatureExtractor("lenet5", "pool2:avg", weights="random:0", bits=12)
    np.testing.assert_array_equal(alone.transform(load_source(tmp_path / "twelve")), found["twelve", 12])


def test_stated_bits_are_part_of_what_is_hashed() -> None:
    """Features that an earlier version computed from nearly black images must not be found again."""
    import hashlib

    plain, stated = tiff(TWELVE), tiff(TWELVE, t341=4095)
    assert (stated_bits(plain), stated_bits(stated)) == (None, 12)
    assert content_digest(plain) == hashlib.sha256(plain).digest()
    assert content_digest(stated) != hashlib.sha256(stated).digest()


def test_bits_of_arrays_are_a_usage_error() -> None:
    with pytest.raises(OptionError, match="8-bit arrays"):
        FeatureExtractor("lenet5", "pool2:avg", weights="random:0", bits=12).transform("digits")
    for bits in (7, 17, 12.5):
        with pytest.raises(OptionError, match="bits is"):
            BackboneConfig(bits=bits)  # type: ignore[arg-type]


def test_the_command_warns_and_takes_bits(tmp_path: Path) -> None:
    (tmp_path / "in" / "cat").mkdir(parents=True)
    (tmp_path / "in" / "cat" / "1.tif").write_bytes(tiff(TWELVE))
    command = ("extract", tmp_path / "in", "-b", "lenet5", "--weights", "random:0", "-l", "pool2:avg", "--json")

    def run(*more: str) -> Result:
        return featx(*command, *more)

    dark, told, quiet = run(), run("--bits", "12"), run("--bits", "16", "--quiet")
    assert "warning: image cat/1.tif has more than 8 bits per sample" in dark.stderr
    assert "warning" not in told.stderr
    assert (dark.exit_code, told.exit_code, quiet.exit_code, quiet.stderr) == (0, 0, 0, "")
    keys = {json.loads(done.stdout)["layers"][0]["key"] for done in (dark, told, quiet)}
    assert len(keys) == 3
    wrong = run("--bits", "11")
    assert wrong.exit_code == 1
    assert "--bits 11 allows" in wrong.stdout
