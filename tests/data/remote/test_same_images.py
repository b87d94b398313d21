"""The same 200 images give the same features, from whichever place: a folder, shards, lists, S3's protocol, HTTP."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from web_server import WebServer

from featx.cache.memo import Memo
from featx.data.arrays import ArraySource
from featx.data.sources import Source, load_source
from featx.extraction.compute import compute
from featx.models.backbones import resolve

LOCAL = {
    "shards in a folder": "shards",
    "shards in braces": "shards/shard-{000000..000003}.tar",
    "shards in a text file": "shards/shards.txt",
    "manifest": "pets/manifest.parquet",
    "manifest with hashes": "pets/hashed.parquet",
}
FILES = {
    "zip": "pets.zip",
    "tar": "pets.tar",
    "parquet with images": "bytes.parquet",
    "list": "pets/list.csv",
    **{kind: place for kind, place in LOCAL.items() if kind != "shards in a folder"},
}
PREFIXES = {"folder": "pets", "shards below a prefix": "shards"}
N = 200


def features(source: Source) -> Any:
    return compute(source, resolve("lenet5", weights="random:0"), ["fc1"])["fc1"]


@pytest.fixture(scope="module")
def expected(many_pets: Any) -> Any:
    return features(ArraySource(many_pets.images))


@pytest.fixture(scope="module")
def fingerprint(many_pets: Any) -> str:
    return load_source(many_pets.root / "pets").fingerprint()


def check(source: Source, kind: str, pets: Any, expected: Any, fingerprint: str) -> None:
    assert len(source) == N
    assert source.classes == ("cat", "dog")
    assert source.labels.tolist() == pets.labels
    assert source.fingerprint() == fingerprint
    if "shards" in kind:
        assert list(source.ids) == [f"shard-{i // 50:06d}/{i:03d}" for i in range(N)]
    elif kind == "parquet with images":
        assert list(source.ids) == [f"all/{i:08d}" for i in range(N)]
    else:
        assert list(source.ids) == pets.names
    np.testing.assert_array_equal(features(source), expected)


@pytest.mark.parametrize("kind", LOCAL)
def test_on_this_machine(many_pets: Any, kind: str, expected: Any, fingerprint: str) -> None:
    check(load_source(f"{many_pets.root}/{LOCAL[kind]}"), kind, many_pets, expected, fingerprint)


@pytest.mark.parametrize("kind", FILES)
def test_at_a_web_server(many_pets: Any, web: WebServer, kind: str, expected: Any, fingerprint: str) -> None:
    source = load_source(f"{web.url}/{FILES[kind]}")
    check(source, kind, many_pets, expected, fingerprint)
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again[150][0], many_pets.images[150])
    assert web.most_at_once <= 16


@pytest.mark.parametrize("kind", [*PREFIXES, "zip", "tar", "manifest with hashes", "shards in braces"])
def test_by_the_protocol_of_s3(many_pets: Any, s3: str, kind: str, expected: Any, fingerprint: str) -> None:
    check(load_source(f"{s3}/{(PREFIXES | FILES)[kind]}"), kind, many_pets, expected, fingerprint)


@pytest.mark.parametrize("kind", ["zip", "tar", "list", "manifest", "shards in braces"])
def test_a_server_that_gives_no_parts_gives_the_whole(
    many_pets: Any, web: WebServer, kind: str, expected: Any, fingerprint: str
) -> None:
    web.ranges = False
    check(load_source(f"{web.url}/{FILES[kind]}"), kind, many_pets, expected, fingerprint)


@pytest.mark.parametrize("kind", FILES)
def test_a_second_look_reads_no_image(many_pets: Any, web: WebServer, kind: str, tmp_path: Any) -> None:
    memo = Memo(tmp_path)
    first = load_source(f"{web.url}/{FILES[kind]}", memo=memo).fingerprint()
    web.asked.clear()
    web.sent = 0
    assert load_source(f"{web.url}/{FILES[kind]}", memo=memo).fingerprint() == first
    # One byte for each image of a list, and nothing for those in an archive.
    assert len(web.asked) <= (N + 20 if kind in ("list", "manifest") else 20)
    if kind != "parquet with images":  # in so small a file, a window for the labels is all
        assert web.sent < 100_000 < sum(map(len, many_pets.files))


def test_a_manifest_with_hashes_reads_no_image_for_its_key(many_pets: Any, web: WebServer, fingerprint: str) -> None:
    assert load_source(f"{web.url}/pets/hashed.parquet").fingerprint() == fingerprint
    assert not [path for path in web.asked if path.endswith(".png")]
