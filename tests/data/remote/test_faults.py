"""Servers that drop, delay, truncate and refuse; what is no fault of an image stops the work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from web_server import WebServer

from featx.data.remote import reading
from featx.data.remote.requests import Policy
from featx.data.sources import load_source
from featx.errors import ImageError, OptionError, SourceError

KINDS = {"list": "pets/list.csv", "shards": "shards/shard-{000000..000003}.tar", "zip": "pets.zip"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["drop", "truncate", "503", "429"])
def test_one_request_in_twenty_that_fails_changes_nothing(
    many_pets: Any, web: WebServer, kind: str, fault: str
) -> None:
    failed = []

    def faults(n: int, path: str) -> str:
        failed.append(n % 20 == 3)
        return fault if failed[-1] else ""

    web.faults = faults
    source = load_source(f"{web.url}/{KINDS[kind]}")
    with source.reading_ahead(np.arange(len(source))):
        np.testing.assert_array_equal([source[i][0] for i in range(len(source))], many_pets.images)
    assert sum(failed) > 5


def test_an_answer_that_takes_too_long_is_asked_for_again(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "policy", lambda: Policy(tries=8, pause=0.01, silence=0.7))
    web.faults = lambda n, path: "delay" if n == 1 else ""
    source = load_source(f"{web.url}/pets/list.csv").subset(np.arange(8))
    assert source[0][0].shape == (28, 28, 3)
    asked = [path for path in web.asked if path.endswith(".png")]
    assert len(asked) > len(set(asked)) + 1  # each of eight for its hash, one of them again, one of them as an image


def test_a_body_that_always_ends_early_is_refused_by_name(web: WebServer) -> None:
    web.faults = lambda n, path: "truncate" if path.endswith("cat/007.png") else ""
    source = load_source(f"{web.url}/pets/list.csv")
    with pytest.raises(ImageError, match=r"image cat/007\.png cannot be read.*6 times") as caught:
        source[7]
    assert caught.value.reason == "image cat/007.png cannot be read: fewer bytes came than it has"
    assert source[8][0].shape == (28, 28, 3)


def test_an_archive_that_always_ends_early_is_refused_by_name(web: WebServer) -> None:
    web.faults = lambda n, path: "truncate" if path.endswith(".tar") else ""
    with pytest.raises(SourceError, match=r"pets\.tar cannot be read"):
        load_source(f"{web.url}/pets.tar")


@pytest.mark.parametrize(("status", "said"), [("404", "there is no such object"), ("403", "it may not be read")])
def test_what_is_not_there_or_forbidden_is_asked_for_once_and_named(web: WebServer, status: str, said: str) -> None:
    web.faults = lambda n, path: status if path.endswith("cat/007.png") else ""
    source = load_source(f"{web.url}/pets/list.csv")
    with pytest.raises(ImageError, match=said):
        source[7]
    assert len([path for path in web.asked if path.endswith("cat/007.png")]) == 1


@pytest.mark.parametrize("fault", ["503", "drop"])
def test_a_server_in_trouble_is_no_fault_of_an_image(web: WebServer, fault: str) -> None:
    source = load_source(f"{web.url}/pets/list.csv")
    web.faults = lambda n, path: fault
    with pytest.raises(SourceError, match="cannot be read") as caught:
        source.row_hashes()
    assert not isinstance(caught.value, ImageError)
    assert "run it again" in caught.value.hint


def test_an_archive_that_changes_between_two_reads_is_told(many_pets: Any, tmp_path: Path) -> None:
    from web_server import serving

    (tmp_path / "pets.zip").write_bytes((many_pets.root / "pets.zip").read_bytes())
    with serving(tmp_path) as server:
        source = load_source(f"{server.url}/pets.zip")
        (tmp_path / "pets.zip").write_bytes((tmp_path / "pets.zip").read_bytes() + b"!")
        with pytest.raises(SourceError, match="changed while featx was reading it"):
            source[0]


def test_a_bucket_that_is_not_there_and_a_prefix_without_anything(s3: str) -> None:
    for spec in ("s3://nobody/pets", f"{s3}/nothing"):
        with pytest.raises(SourceError):
            load_source(spec)


def test_what_has_no_listing_needs_a_file(web: WebServer) -> None:
    with pytest.raises(OptionError, match="lists no folders") as caught:
        load_source(f"{web.url}/pets/")
    assert "manifest" in caught.value.hint


@pytest.mark.parametrize(
    "spec", ["file:///etc/passwd", "ftp://h/x.zip", "simplecache::http://h/x.zip", "memory://x.zip"]
)
def test_other_schemes_are_refused(spec: str) -> None:
    with pytest.raises(OptionError):
        load_source(spec)


def test_without_the_extra_its_name_is_said(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setattr(reading, "_shared", {})
    with pytest.raises(SourceError, match="needs fsspec") as caught:
        load_source(f"{web.url}/pets.zip")
    assert caught.value.hint == "pip install 'featx[remote]'"


@pytest.mark.parametrize("said", ["0", "many", "5000"])
def test_the_number_of_requests_is_a_number(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from featx.data.remote.requests import policy

    monkeypatch.setenv("FEATX_REQUESTS", said)
    with pytest.raises(OptionError, match=re.escape(repr(said))):
        policy()
    monkeypatch.setenv("FEATX_REQUESTS", "4")
    assert policy().in_flight == 4
