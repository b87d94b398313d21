"""Google's protocol: objects listed page by page and read, from a server on this machine that speaks as much of it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from featx.data.remote import reading
from featx.data.sources import load_source
from featx.errors import SourceError

PAGE = 3


class _Bucket(BaseHTTPRequestHandler):
    """The objects of one bucket, three a page."""

    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        url, files = urlsplit(self.path), self.server.files
        name = unquote(url.path.partition("/o/")[2])
        self.server.asked.append(self.path)
        if url.path.endswith("/o"):
            self._send(200, json.dumps(self._page(parse_qs(url.query))).encode())
        elif name not in files:
            self._send(404, b"{}")
        else:
            data = files[name] if url.path.startswith("/download") else json.dumps(self._about(name)).encode()
            self._send(200, data)

    def _page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        names = sorted(name for name in self.server.files if name.startswith(query.get("prefix", [""])[0]))
        start = int(query.get("pageToken", ["0"])[0])
        token = {"nextPageToken": str(start + PAGE)} if start + PAGE < len(names) else {}
        return {"kind": "storage#objects", "items": [self._about(n) for n in names[start : start + PAGE]], **token}

    def _about(self, name: str) -> dict[str, str]:
        times = dict.fromkeys(("updated", "timeCreated"), "2020-01-01T00:00:00.000Z")
        return {"name": name, "bucket": "zoo", "size": str(len(self.server.files[name])), "generation": "1", **times}

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def bucket(png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Bucket)
    server.files = {f"pets/{kind}/{i}.png": png(i) for kind in ("cat", "dog") for i in range(4)}
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setattr(reading, "_shared", {})
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_prefix_is_listed_page_by_page_and_read(bucket: Any) -> None:
    source = load_source("gs://zoo/pets")
    assert list(source.ids) == sorted(name.removeprefix("pets/") for name in bucket.files)
    assert source.classes == ("cat", "dog")
    hashes = [hashlib.sha256(bucket.files[f"pets/{name}"]).digest() for name in source.ids]
    assert [row.tobytes() for row in source.row_hashes()] == hashes
    assert len([path for path in bucket.asked if "/o?" in path and "pageToken" in path]) == 2


def test_what_is_not_there_is_told(bucket: Any) -> None:
    with pytest.raises(SourceError, match=r"gs://zoo/none\.zip cannot be read: there is no such object"):
        load_source("gs://zoo/none.zip")
