"""A web server of a folder on this machine, with real sockets, that can drop, delay, truncate and refuse."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class WebServer(ThreadingHTTPServer):
    """A folder's files at `url`.

    Attributes
    ----------
    faults : callable
        Given the number of a request, from 0, and its path: ``''``, ``drop``, ``delay``, ``truncate``, ``503``, ``404``
        or another status.
    ranges, tags : bool
        Whether parts are given, and ETags.
    seconds : float
        Before each answer.
    asked : list of str
        The paths with their queries, in the order that they were asked for.
    sent : int
        Bytes of answers' bodies, roughly.
    redirects : dict of str to str
        Where paths lead to.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.faults: Callable[[int, str], str] = lambda n, path: ""
        self.ranges = self.tags = True
        self.seconds = 0.0
        self.asked: list[str] = []
        self.redirects: dict[str, str] = {}
        self.most_at_once = self._now = self.sent = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that went away are what is tested."""

    @contextlib.contextmanager
    def counted(self, path: str) -> Iterator[int]:
        with self._lock:
            self.asked.append(path)
            number = len(self.asked) - 1
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            yield number
        finally:
            with self._lock:
                self._now -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        with self.server.counted(self.path) as number:
            fault = self.server.faults(number, self.path)
            if self.server.seconds:
                time.sleep(self.server.seconds)
            self._answer(fault)

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, fault: str) -> None:
        if fault == "drop":
            self._reset()
            return
        if fault == "delay":
            time.sleep(1.5)
        path = unquote(urlsplit(self.path).path)
        if path in self.server.redirects:
            self._plain(302, {"Location": self.server.redirects[path]})
            return
        file = self.server.folder / path.lstrip("/")
        if fault.isdecimal() or not file.is_file():
            self._plain(int(fault) if fault.isdecimal() else 404, {})
            return
        data = file.read_bytes()
        headers = {"ETag": f'"{hashlib.md5(data).hexdigest()}"'} if self.server.tags else {}
        status, found = 200, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if found and self.server.ranges:
            first, last = int(found[1]), min(int(found[2]), len(data) - 1)
            status = 206 if first <= last else 416
            shown = f"{first}-{last}" if status == 206 else "*"
            headers["Content-Range"] = f"bytes {shown}/{len(data)}"
            data = data[first : last + 1] if status == 206 else b""
        self._send(status, headers, data, cut=fault == "truncate")

    def _plain(self, status: int, headers: dict[str, str]) -> None:
        self._send(status, headers, b"", cut=False)

    def _send(self, status: int, headers: dict[str, str], data: bytes, *, cut: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        body = data[: len(data) // 2] if cut else data
        self.server.sent += len(body)
        self.wfile.write(body)
        if cut:
            self.wfile.flush()
            self.close_connection = True

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[WebServer]:
    """Serve a folder until the block ends."""
    server = WebServer(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
