"""What stands before a server and ends some answers early, after half of their body."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class CuttingRelay(ThreadingHTTPServer):
    """Another server's objects at `url`.

    Attributes
    ----------
    cuts : callable
        Given the number of a request, from 0, and its path: whether its answer ends early.
    cut : list of str
        The paths whose answers did.
    """

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.cuts: Callable[[int, str], bool] = lambda n, path: False
        self.cut: list[str] = []
        self._asked = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def number(self) -> int:
        with self._lock:
            self._asked += 1
            return self._asked - 1

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that went away are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CuttingRelay

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        cut = self.server.cuts(self.server.number(), self.path) and self.command == "GET"
        with contextlib.closing(http.client.HTTPConnection(self.server.upstream)) as upstream:
            upstream.request(self.command, self.path, headers=dict(self.headers))
            answer = upstream.getresponse()
            body = answer.read()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(body)))
        self.end_headers()
        if cut:
            self.server.cut.append(self.path)
            body, self.close_connection = body[: len(body) // 2], True
        self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815


@contextlib.contextmanager
def relaying(upstream: str) -> Iterator[CuttingRelay]:
    """Run a relay for as long as the context lasts."""
    relay = CuttingRelay(upstream)
    thread = threading.Thread(target=relay.serve_forever, daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        relay.shutdown()
        relay.server_close()
        thread.join()
