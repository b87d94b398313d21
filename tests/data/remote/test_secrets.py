"""No secret of a URL is printed or stored, and no list from elsewhere leads to a file or address of this machine."""

from __future__ import annotations

import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from web_server import WebServer, serving

from featx.cache.memo import Memo
from featx.cli.main import cli
from featx.core.urls import is_url, redacted, safe_url
from featx.data.remote import web as web_module
from featx.data.sources import load_source
from featx.errors import ImageError, SourceError

SECRETS = ("hunter2", "deadbeef", "t0ken")
SIGNED = "?X-Amz-Signature=deadbeef&token=t0ken&id=7"


def signed(url: str) -> str:
    return url.replace("http://", "http://me:hunter2@") + SIGNED


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://me:pw@h/x.jpg?sig=1&id=2#part", "https://h/x.jpg?id=2"),
        ("s3://key:secret@bucket/a b/c.jpg", "s3://bucket/a b/c.jpg"),
        ("https://h/x.jpg?AWSAccessKeyId=1&Expires=2", "https://h/x.jpg"),
        ("https://h/x.jpg?c2VjcmV0", "https://h/x.jpg"),
        ("https://h:port]/x?sig=1", "https://..."),
        ("a#b/who@home?sig=1.jpg", "a#b/who@home?sig=1.jpg"),
    ],
)
def test_a_url_without_its_secrets(url: str, safe: str) -> None:
    assert safe_url(url) == safe
    assert safe_url(safe) == safe


def test_texts_of_libraries_are_rid_of_secrets() -> None:
    text = "404, url='https://me:pw@h/x?sig=1&id=2', also /y?token=3 and https://h/z?X-Amz-Signature=4."
    assert redacted(text) == "404, url='https://h/x?id=2', also /y and https://h/z"


def test_windows_paths_are_no_urls() -> None:
    assert not is_url(r"C:\pets\x.jpg")
    assert not is_url("C:/pets/x.jpg")


@pytest.mark.parametrize("place", ["pets.zip", "pets/list.csv", "pets/manifest.parquet", "shards/shard-000000.tar"])
def test_nothing_that_is_shown_or_kept_has_a_secret(many_pets: Any, web: WebServer, place: str, tmp_path: Path) -> None:
    source = load_source(signed(f"{web.url}/{place}"), memo=Memo(tmp_path))
    source.row_hashes()
    shown = f"{source.spec} {list(source.ids)}"
    assert source.spec == f"{web.url}/{place}?id=7"
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert kept
    assert not [secret for secret in SECRETS if secret in shown or secret.encode() in kept]
    assert [path for path in web.asked if "deadbeef" in path]


@pytest.mark.parametrize("fault", ["404", "403", "503", "truncate", "drop"])
@pytest.mark.parametrize("place", ["pets.zip", "pets/list.csv", "shards/shard-000000.tar"])
def test_no_error_tells_a_secret(web: WebServer, place: str, fault: str) -> None:
    web.faults = lambda n, path: fault
    with pytest.raises(SourceError) as caught:
        load_source(signed(f"{web.url}/{place}"))
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caught.value.hint
    assert not [secret for secret in SECRETS if secret in told]


def test_images_of_signed_urls_have_ids_and_errors_without_secrets(web: WebServer, tmp_path: Path) -> None:
    urls = [signed(f"{web.url}/pets/cat/{i:03d}.png") for i in range(3)] + [signed(f"{web.url}/pets/cat/none.png")]
    pq.write_table(pa.table({"url": urls, "label": ["a", "b", "a", "b"]}), tmp_path / "m.parquet")
    source = load_source(tmp_path / "m.parquet", memo=Memo(tmp_path / "home"))
    assert source.ids[0] == f"{web.url}/pets/cat/000.png?id=7"
    assert source[0][0].shape == (28, 28, 3)
    with pytest.raises(ImageError, match=r"none\.png\?id=7 cannot be read") as caught:
        source[3]
    told = "".join(traceback.format_exception(caught.value)) + caught.value.reason
    assert not [secret for secret in SECRETS if secret in told]


# Lists from elsewhere


def write_list(path: Path, kind: str, place: str) -> str:
    if kind == "csv":
        path.with_suffix(".csv").write_text(f"path,label\n{place},a\n")
    else:
        pq.write_table(pa.table({"path": [place], "label": ["a"]}), path.with_suffix(".parquet"))
    return f"list.{kind}"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("place", ["/etc/hostname", "../secret.png", "file:///etc/hostname", "a/../../secret.png"])
@pytest.mark.parametrize("is_remote", [True, False], ids=["remote", "local"])
def test_a_list_leads_to_no_other_local_file(tmp_path: Path, kind: str, place: str, is_remote: bool) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "lists").mkdir()
    name = write_list(tmp_path / "lists/list", kind, place)
    with serving(tmp_path) as server:
        where = server.url if is_remote else tmp_path
        with pytest.raises(SourceError, match=r"line 2|row 1"):
            load_source(f"{where}/lists/{name}")
        assert not [path for path in server.asked if "secret" in path]


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``localhost`` count as a host of the internet; 127.0.0.1 stays an address of this machine."""
    monkeypatch.setattr(web_module, "is_public", lambda host: host == "localhost")


@pytest.mark.usefixtures("strangers")
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_list_of_the_internet_names_no_address_within(tmp_path: Path, kind: str) -> None:
    with serving(tmp_path) as server:
        name = write_list(tmp_path / "list", kind, f"{server.url}/admin.png")
        outside = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(SourceError, match="an address of this machine"):
            load_source(f"{outside}/{name}")
        assert "/admin.png" not in server.asked


@pytest.mark.usefixtures("strangers")
@pytest.mark.parametrize("target", ["{url}/admin.zip", "file:///etc/hostname", "ftp://h/x"])
def test_a_redirect_leads_to_no_file_and_no_address_within(tmp_path: Path, target: str) -> None:
    with serving(tmp_path) as server:
        server.redirects["/pets.zip"] = target.format(url=server.url)
        with pytest.raises(SourceError):
            load_source(f"{server.url.replace('127.0.0.1', 'localhost')}/pets.zip")
        assert "/admin.zip" not in server.asked


def test_a_redirect_to_another_place_of_the_same_server_is_followed(many_pets: Any, web: WebServer) -> None:
    web.redirects["/latest.zip"] = "/pets.zip"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_source(f"{web.url}/latest.zip")) == 200


RECIPE = """
[recipe]
name = "two"
[[row]]
backbone = "pixels"
size = 8
[[row]]
name = "trained"
backbone = "lenet5"
mode = "scratch"
size = 32
epochs = 1
"""


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("command", ["fit {} --pixels", "run two.toml --set source={}", "compare {} --only pixels"])
def test_a_run_on_a_signed_url_prints_and_keeps_no_secret(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    home = tmp_path / "home"
    (tmp_path / "two.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    args = [*command.format(signed(f"{web.url}/pets.zip")).split(), "--home", str(home)]
    monkeypatch.setattr(sys, "argv", ["featx", *args])  # which the record keeps
    done = CliRunner().invoke(cli, args)
    assert done.exit_code == 0, done.output
    kept = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert [path for path in kept if path.name == "run.json"]
    for secret in SECRETS:
        assert secret not in done.stdout + done.stderr
        assert not [path for path, data in kept.items() if secret.encode() in data]
