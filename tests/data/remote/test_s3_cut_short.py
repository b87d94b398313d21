"""Answers of an S3 server that end early: asked for again, and refused by name where they always do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cutting_relay import CuttingRelay, relaying

from featx.data.remote import reading
from featx.data.sources import load_source
from featx.errors import ImageError, SourceError

KINDS = {"objects": "pets", "shards": "shards/shard-{000000..000003}.tar", "zip": "pets.zip"}


@pytest.fixture
def relay(s3: str, _filled_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CuttingRelay]:
    """Stand before the bucket's server."""
    with relaying(_filled_bucket) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.url)
        reading._shared.clear()
        yield found
    reading._shared.clear()


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_in_ten_that_ends_early_changes_nothing(many_pets: Any, s3: str, relay: CuttingRelay, kind: str) -> None:
    relay.cuts = lambda n, path: n % 10 == 3
    source = load_source(f"{s3}/{KINDS[kind]}")
    with source.reading_ahead(np.arange(len(source))):
        np.testing.assert_array_equal([source[i][0] for i in range(len(source))], many_pets.images)
    assert relay.cut


def test_a_body_that_always_ends_early_is_refused_by_name(s3: str, relay: CuttingRelay) -> None:
    source = load_source(f"{s3}/pets")
    relay.cuts = lambda n, path: "cat/007.png" in path
    with pytest.raises(ImageError, match=r"image cat/007\.png cannot be read"):
        source[7]
    assert source[8][0].shape == (28, 28, 3)


def test_an_archive_that_always_ends_early_is_refused_by_name(s3: str, relay: CuttingRelay) -> None:
    relay.cuts = lambda n, path: "pets.tar" in path
    with pytest.raises(SourceError, match=r"pets\.tar cannot be read"):
        load_source(f"{s3}/pets.tar")
