"""Files from the network, without one: what servers may answer. Those of data sets are asked in tests/data."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from featx.core.http import NetworkError, download, reach

URL = "http://example.org/a.bin"


class Answer(io.BytesIO):
    """What a server sends, and how long it says that is."""

    def __init__(self, content: bytes, length: str) -> None:
        super().__init__(content)
        self.headers = {"Content-Length": length} if length else {}


def test_a_server_need_not_say_how_long_a_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *asked, **how: Answer(b"abc", ""))
    seen: list[Any] = []
    download(URL, tmp_path / "a.bin", "sha256", "ba7816bf", lambda *now: seen.append(now))
    assert (tmp_path / "a.bin").read_bytes() == b"abc"
    assert seen == [("download a.bin", 0, 0)]


@pytest.mark.parametrize(
    ("length", "digest", "said"),
    [
        ("4", "", "ended after 3 of 4 bytes"),
        ("some", "", "invalid literal"),
        ("3", "00", "has md5 900150983cd24fb0d6963f7d28e17f72"),
    ],
)
def test_what_is_not_the_file_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: str, digest: str, said: str
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *asked, **how: Answer(b"abc", length))
    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(NetworkError, match=said):
        download(URL, tmp_path / "a.bin", "md5", digest)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("url", ["no url", "gopher://example.org/a"])
def test_what_is_no_url_is_a_network_error(tmp_path: Path, url: str) -> None:
    with pytest.raises(NetworkError, match="unknown url type"):
        download(url, tmp_path / "a.bin", "md5")


def test_any_answer_reaches_and_silence_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(request: urllib.request.Request, *, timeout: float) -> None:
        asked.append(request.get_method())
        raise urllib.error.HTTPError(URL, 404, "Not Found", Message(), io.BytesIO())

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    reach(URL)
    assert asked == ["HEAD"]

    def silence(*asked: Any, **how: Any) -> None:
        raise urllib.error.URLError("timed out")

    monkeypatch.setattr(urllib.request, "urlopen", silence)
    with pytest.raises(OSError, match="timed out"):
        reach(URL)
