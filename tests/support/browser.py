"""Chromium without a window, told what to do by chromedriver; a test that wants it is skipped where there is none."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
)


class Browser:
    """One session of a browser.

    Parameters
    ----------
    url : str
        The session's.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def open(self, page: Path) -> None:
        """Load a file, and wait until it has loaded."""
        _call(f"{self._url}/url", {"url": page.absolute().as_uri()})

    def ask(self, script: str) -> Any:
        """Return what JavaScript of ours gives in the page."""
        return _call(f"{self._url}/execute/sync", {"script": f"return {script}", "args": []})

    def tell(self, method: str, **params: Any) -> Any:
        """Call the DevTools protocol."""
        return _call(f"{self._url}/goog/cdp/execute", {"cmd": method, "params": params})

    def show(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Set the window's width in CSS pixels, and the reader's colours."""
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.tell("Emulation.setEmulatedMedia", media="screen", features=features)

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        """Write a PNG of the page."""
        found = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(found["data"]))

    def pdf(self) -> bytes:
        """Return the page printed on A4."""
        self.tell("Emulation.setEmulatedMedia", media="print", features=[])
        found = self.tell("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)
        return base64.b64decode(found["data"])


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """Start a browser with an empty profile; skip the test where there is none."""
    driver, program = shutil.which("chromedriver"), next(filter(None, map(shutil.which, CHROMIUM)), None)
    if driver is None or program is None:
        pytest.skip("NO BROWSER: chromium and chromedriver are not installed")
    with subprocess.Popen(
        [driver, "--port=0"], text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield from _session(f"http://127.0.0.1:{_port(process)}", program, profile)
        finally:
            process.terminate()


def _session(url: str, program: str, profile: Path) -> Iterator[Browser]:
    options = {"binary": program, "args": [*FLAGS, f"--user-data-dir={profile}"]}
    wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
    session = f"{url}/session/{_call(f'{url}/session', wanted)['sessionId']}"
    try:
        yield Browser(session)
    finally:
        _call(session, None, "DELETE")


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    end = time.monotonic() + 20
    while time.monotonic() < end:
        line = process.stdout.readline()
        if "successfully on port" in line:
            return int(line.rpartition("port")[2].strip(" .\n"))
    raise AssertionError("chromedriver does not say on which port it listens")


def _call(url: str, body: Any, method: str = "POST") -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=90) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as exc:
        raise AssertionError(exc.read().decode()) from exc
