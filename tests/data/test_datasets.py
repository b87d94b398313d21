"""torchvision's data sets by name: tiny copies in the published formats, and no network at all."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import hashlib
import io
import json
import os
import re
import socket
import struct
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from click.testing import CliRunner
from PIL import Image
from scipy.io import savemat

import featx.core.http
from featx.cache.memo import Memo
from featx.cli.main import cli
from featx.data.dataset_arrays import ARRAY_SETS
from featx.data.dataset_images import IMAGE_SETS
from featx.data.download import Remote, fetch_all
from featx.data.sources import Source, load_source, load_splits
from featx.errors import FeatxWarning, SourceError

SETS = {**ARRAY_SETS, **IMAGE_SETS}
RNG = np.random.default_rng(0)
Files = Mapping[str, bytes]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEATX_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def unreachable(*args: Any, **options: Any) -> Any:
    raise urllib.error.URLError("Network is unreachable")


# What publishers would serve


def jpeg(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (9, 8), (shade, 0, 0)).save(out, "JPEG")
    return out.getvalue()


def tar(files: Files) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zipped(files: Files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def mat(**arrays: Any) -> bytes:
    out = io.BytesIO()
    savemat(out, arrays)
    return out.getvalue()


def idx(values: Any) -> bytes:
    values = np.asarray(values)
    kind, dtype = (8, ">u1") if values.dtype == np.uint8 else (12, ">i4")
    head = struct.pack(f">HBB{values.ndim}I", 0, kind, values.ndim, *values.shape)
    return gzip.compress(head + values.astype(dtype).tobytes())


def pixels(n: int, *shape: int) -> Any:
    return RNG.integers(0, 256, (n, *shape), np.uint8)


def put(monkeypatch: pytest.MonkeyPatch, root: Path, name: str, contents: list[bytes]) -> None:
    """Lay a set's files where they belong, and let the table ask for what they are."""
    # It looks at digests again, which cannot be those of a copy.
    monkeypatch.setattr("torchvision.datasets.flowers102.check_integrity", lambda path, md5: Path(path).is_file())
    sets: dict[str, Any] = ARRAY_SETS if name in ARRAY_SETS else IMAGE_SETS
    remotes = []
    for remote, content in zip(sets[name].remotes, contents, strict=True):
        path = root / remote.folder / remote.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        remotes.append(dataclasses.replace(remote, md5=hashlib.md5(content).hexdigest()))
    monkeypatch.setitem(sets, name, dataclasses.replace(sets[name], remotes=tuple(remotes)))


def facts(name: str) -> dict[str, tuple[list[str], list[int]]]:
    return {split: (list(found.ids), found.labels.tolist()) for split, found in load_splits(name).items()}


Build = Callable[[], tuple[list[bytes], dict[str, tuple[list[int], Any]]]]


def cifar(folder: str, train: list[str], test: str, extra: int, names: str, classes: int) -> Build:
    def build() -> tuple[list[bytes], dict[str, tuple[list[int], Any]]]:
        images, labels = pixels(2 * len(train) + 3, 32, 32, 3), RNG.integers(0, classes, 2 * len(train) + 3)

        def records(part: slice) -> bytes:
            rows = zip(labels[part], images[part], strict=True)
            return b"".join(bytes([7] * extra + [y]) + x.transpose(2, 0, 1).tobytes() for y, x in rows)

        files = {f"{folder}/{name}": records(slice(2 * i, 2 * i + 2)) for i, name in enumerate(train)}
        files[f"{folder}/{test}"] = records(slice(-3, None))
        files[f"{folder}/{names}"] = "".join(f"class_{i}\n" for i in range(classes)).encode() + b"\n"
        expected = {"train": (labels[:-3].tolist(), images[:-3]), "test": (labels[-3:].tolist(), images[-3:])}
        return [tar(files)], expected

    return build


def stl10() -> tuple[list[bytes], dict[str, tuple[list[int], Any]]]:
    files, expected = {}, {}
    for split, n in (("train", 3), ("test", 2)):
        images, labels = pixels(n, 96, 96, 3), RNG.integers(0, 10, n)
        files[f"stl10_binary/{split}_X.bin"] = images.transpose(0, 3, 2, 1).tobytes()
        files[f"stl10_binary/{split}_y.bin"] = (labels + 1).astype(np.uint8).tobytes()
        expected[split] = labels.tolist(), images
    files["stl10_binary/unlabeled_X.bin"] = bytes(3 * 96 * 96)
    files["stl10_binary/class_names.txt"] = b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n"
    return [tar(files)], expected


def mnist(columns: int = 0) -> Build:
    def build() -> tuple[list[bytes], dict[str, tuple[list[int], Any]]]:
        contents, expected = [], {}
        for split, n in (("train", 4), ("test", 3)):
            images, labels = pixels(n, 28, 28), RNG.integers(0, 10, n)
            stored = np.stack([labels] + [labels * 0 + 300] * columns, 1).astype(np.int32) if columns else labels
            contents += [idx(images), idx(stored if columns else labels.astype(np.uint8))]
            expected[split] = labels.tolist(), images[..., None]
        return contents, expected

    return build


def emnist_letters() -> tuple[list[bytes], dict[str, tuple[list[int], Any]]]:
    files, expected = {}, {}
    for split, n in (("train", 4), ("test", 3)):
        images, labels = pixels(n, 28, 28), RNG.integers(0, 26, n)
        files[f"gzip/emnist-letters-{split}-images-idx3-ubyte.gz"] = idx(images.transpose(0, 2, 1))
        files[f"gzip/emnist-letters-{split}-labels-idx1-ubyte.gz"] = idx((labels + 1).astype(np.uint8))
        expected[split] = labels.tolist(), images[..., None]
    return [zipped(files)], expected


def svhn() -> tuple[list[bytes], dict[str, tuple[list[int], Any]]]:
    contents, expected = [], {}
    for split, n in (("train", 5), ("test", 3)):
        images, labels = pixels(n, 32, 32, 3), np.arange(n) % 10
        stored = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        contents.append(mat(X=images.transpose(1, 2, 3, 0), y=stored))
        expected[split] = labels.tolist(), images
    return contents, expected


def usps() -> tuple[list[bytes], dict[str, tuple[list[int], Any]]]:
    contents, expected = [], {}
    for split, n in (("train", 3), ("test", 2)):
        images, labels = RNG.integers(0, 2, (n, 16, 16)).astype(np.uint8) * 255, RNG.integers(0, 10, n)
        lines = []
        for image, label in zip(images, labels, strict=True):
            cells = (f"{i + 1}:{value / 127.5 - 1}" for i, value in enumerate(image.ravel()))
            lines.append(f"{label + 1} " + " ".join(cells))
        contents.append(bz2.compress("\n".join(lines).encode()))
        expected[split] = labels.tolist(), images[..., None]
    return contents, expected


def semeion() -> tuple[list[bytes], dict[str, tuple[list[int], Any]]]:
    images, labels = RNG.integers(0, 2, (3, 16, 16)), [3, 0, 9]
    rows = [[*image.ravel(), *np.eye(10, dtype=int)[label]] for image, label in zip(images, labels, strict=True)]
    text = "\n".join(" ".join(f"{v:.4f}" for v in row) for row in rows)
    return [text.encode()], {"all": (labels, (images * 255).astype(np.uint8)[..., None])}


ARRAYS: dict[str, Build] = {
    "cifar10": cifar(
        "cifar-10-batches-bin",
        [f"data_batch_{i}.bin" for i in range(1, 6)],
        "test_batch.bin",
        0,
        "batches.meta.txt",
        10,
    ),
    "cifar100": cifar("cifar-100-binary", ["train.bin"], "test.bin", 1, "fine_label_names.txt", 100),
    "stl10": stl10,
    "svhn": svhn,
    "mnist": mnist(),
    "fashion_mnist": mnist(),
    "kmnist": mnist(),
    "qmnist": mnist(columns=7),
    "emnist_letters": emnist_letters,
    "usps": usps,
    "semeion": semeion,
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_set_gives_its_images_labels_and_splits(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents, expected = ARRAYS[name]()
    put(monkeypatch, root, name, contents)
    for _ in range(2):  # the second time what was unpacked is there already
        splits = load_splits(name)
        assert list(splits) == list(expected)
        for split, (labels, images) in expected.items():
            assert splits[split].labels.tolist() == labels
            assert list(splits[split].ids) == [f"{split}/{i:06d}" for i in range(len(labels))]
            np.testing.assert_array_equal([splits[split][i][0] for i in range(len(labels))], images)
            assert isinstance(splits[split], Source)


def flowers() -> list[bytes]:
    images = {f"jpg/image_{i:05d}.jpg": jpeg(i) for i in range(1, 8)}
    ids = mat(trnid=[[2, 1]], valid=[[3, 7]], tstid=[[6, 4, 5]])
    return [tar(images), mat(labels=[[1, 102, 1, 2, 1, 2, 2]]), ids]


def food() -> list[bytes]:
    images = {f"food-101/images/{c}/{i}.jpg": jpeg(i) for c in ("apple_pie", "baklava") for i in range(4)}
    lists = {"train": {"apple_pie": ["apple_pie/2", "apple_pie/0"], "baklava": ["baklava/1"]}}
    lists["test"] = {"apple_pie": ["apple_pie/3"], "baklava": ["baklava/0"]}
    return [tar(images | {f"food-101/meta/{s}.json": json.dumps(found).encode() for s, found in lists.items()})]


def pets() -> list[bytes]:
    names = ["Abyssinian_1", "Abyssinian_2", "great_dane_1"]
    annotations = {"trainval": "Abyssinian_1 1 1 1\ngreat_dane_1 2 2 1\n", "test": "Abyssinian_2 1 1 1\n"}
    texts = {f"annotations/{s}.txt": text.encode() for s, text in annotations.items()}
    return [tar({f"images/{name}.jpg": jpeg(3) for name in names}), tar(texts | {"annotations/trimaps/x.png": b""})]


def eurosat() -> list[bytes]:
    return [zipped({f"2750/{c}/{c}_{i}.jpg": jpeg(i) for c in ("Forest", "River") for i in (1, 2)})]


def gtsrb() -> list[bytes]:
    train = {f"GTSRB/Training/{c:05d}/00000_00000.ppm": b"P6 1 1 255\n" + bytes([c, 0, 0]) for c in range(3)}
    test = {f"GTSRB/Final_Test/Images/{i:05d}.ppm": b"P6 1 1 255\n" + bytes([9, i, 0]) for i in range(2)}
    table = (
        "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n00000.ppm;1;1;0;0;1;1;2\n00001.ppm;1;1;0;0;1;1;0\n"
    )
    return [zipped(train), zipped(test), zipped({"GT-final_test.csv": table.encode()})]


def dtd() -> list[bytes]:
    parts = {"train": "a/a_1.jpg\nb/b_1.jpg\n", "val": "a/a_2.jpg\nb/b_2.jpg\n", "test": "a/a_3.jpg\nb/b_3.jpg\n"}
    files = {f"dtd/images/{c}/{c}_{i}.jpg": jpeg(i) for c in "ab" for i in (1, 2, 3)}
    return [tar(files | {f"dtd/labels/{s}1.txt": text.encode() for s, text in parts.items()})]


def caltech() -> list[bytes]:
    folders = ("BACKGROUND_Google", "Faces", "anchor")
    inner = {f"101_ObjectCategories/{c}/image_{i:04d}.jpg": jpeg(i) for c in folders for i in (1, 2)}
    return [zipped({"caltech-101/101_ObjectCategories.tar.gz": tar(inner), "caltech-101/Annotations.tar": b"?"})]


def country() -> list[bytes]:
    return [tar({f"country211/{s}/{c}/{s}.jpg": jpeg(3) for s in ("train", "valid", "test") for c in ("AD", "ZW")})]


def aircraft() -> list[bytes]:
    data = "fgvc-aircraft-2013b/data/"
    texts = {s: f"{i} 707-320\n1{i} A340\n" for i, s in enumerate(("train", "val", "test"))}
    files = {f"{data}images/{name}.jpg": jpeg(5) for name in ("0", "1", "2", "10", "11", "12")}
    files |= {f"{data}images_variant_{s}.txt": text.encode() for s, text in texts.items()}
    return [tar(files | {f"{data}variants.txt": b"707-320\nA340\n"})]


def sst2() -> list[bytes]:
    folders = [f"rendered-sst2/{s}/{c}" for s in ("train", "valid", "test") for c in ("negative", "positive")]
    return [tar({f"{folder}/1.png": jpeg(2) for folder in folders})]


def imagenette() -> list[bytes]:
    folders = [f"imagenette2-160/{s}/{c}" for s in ("train", "val") for c in ("n01440764", "n02102040")]
    return [tar({f"{folder}/1.JPEG": jpeg(2) for folder in folders})]


def sun() -> list[bytes]:
    names = ("SUN397/a/abbey/sun_b.jpg", "SUN397/a/abbey/sun_a.jpg", "SUN397/b/bazaar/indoor/sun_c.jpg")
    return [tar({name: jpeg(2) for name in names} | {"SUN397/ClassName.txt": b"/a/abbey\n/b/bazaar/indoor\n"})]


IMAGES: dict[str, tuple[Callable[[], list[bytes]], dict[str, tuple[list[str], list[str]]]]] = {
    "flowers102": (
        flowers,
        {
            "train": (["image_00001.jpg", "image_00002.jpg"], ["pink primrose", "blackberry lily"]),
            "val": (["image_00003.jpg", "image_00007.jpg"], ["pink primrose", "hard-leaved pocket orchid"]),
            "test": (
                [f"image_{i:05d}.jpg" for i in (4, 5, 6)],
                ["hard-leaved pocket orchid", "pink primrose", "hard-leaved pocket orchid"],
            ),
        },
    ),
    "food101": (
        food,
        {
            "train": (["apple_pie/0.jpg", "apple_pie/2.jpg", "baklava/1.jpg"], ["apple_pie", "apple_pie", "baklava"]),
            "test": (["apple_pie/3.jpg", "baklava/0.jpg"], ["apple_pie", "baklava"]),
        },
    ),
    "oxfordiiitpet": (
        pets,
        {
            "train": (["Abyssinian_1.jpg", "great_dane_1.jpg"], ["Abyssinian", "Great Dane"]),
            "test": (["Abyssinian_2.jpg"], ["Abyssinian"]),
        },
    ),
    "eurosat": (
        eurosat,
        {"all": ([f"{c}/{c}_{i}.jpg" for c in ("Forest", "River") for i in (1, 2)], ["Forest"] * 2 + ["River"] * 2)},
    ),
    "gtsrb": (
        gtsrb,
        {
            "train": ([f"Training/{c:05d}/00000_00000.ppm" for c in range(3)], ["00000", "00001", "00002"]),
            "test": ([f"Final_Test/Images/0000{i}.ppm" for i in range(2)], ["00002", "00000"]),
        },
    ),
    "dtd": (
        dtd,
        {s: ([f"a/a_{i}.jpg", f"b/b_{i}.jpg"], ["a", "b"]) for i, s in ((1, "train"), (2, "val"), (3, "test"))},
    ),
    "caltech101": (
        caltech,
        {
            "all": (
                [f"{c}/image_000{i}.jpg" for c in ("Faces", "anchor") for i in (1, 2)],
                ["Faces"] * 2 + ["anchor"] * 2,
            )
        },
    ),
    "country211": (
        country,
        {
            split: ([f"{s}/AD/{s}.jpg", f"{s}/ZW/{s}.jpg"], ["AD", "ZW"])
            for split, s in (("train", "train"), ("val", "valid"), ("test", "test"))
        },
    ),
    "fgvc_aircraft": (
        aircraft,
        {s: ([f"{i}.jpg", f"1{i}.jpg"], ["707-320", "A340"]) for i, s in enumerate(("train", "val", "test"))},
    ),
    "rendered_sst2": (
        sst2,
        {
            split: ([f"{s}/negative/1.png", f"{s}/positive/1.png"], ["negative", "positive"])
            for split, s in (("train", "train"), ("val", "valid"), ("test", "test"))
        },
    ),
    "imagenette_160": (
        imagenette,
        {
            s: ([f"{s}/n01440764/1.JPEG", f"{s}/n02102040/1.JPEG"], ["tench", "English springer"])
            for s in ("train", "val")
        },
    ),
    "sun397": (
        sun,
        {
            "all": (
                ["a/abbey/sun_a.jpg", "a/abbey/sun_b.jpg", "b/bazaar/indoor/sun_c.jpg"],
                ["abbey", "abbey", "bazaar/indoor"],
            )
        },
    ),
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_set_gives_its_files_labels_and_splits(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, expected = IMAGES[name]
    put(monkeypatch, root, name, build())
    for _ in range(2):
        splits = load_splits(name)
        assert list(splits) == list(expected)
        for split, (ids, labels) in expected.items():
            source = splits[split]
            assert dict(zip(source.ids, [source.classes[y] for y in source.labels], strict=True)) == dict(
                zip(ids, labels, strict=True)
            )
            assert list(source.ids) == sorted(ids)
            assert source[0][0].shape[2] == 3
    assert not [path for path in root.rglob("*") if path.name.startswith(".")]


def test_classes_keep_the_order_of_the_set(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, root, "flowers102", flowers())
    source = load_source("flowers102", "train")
    assert source.classes == tuple(torchvision.datasets.Flowers102.classes)
    assert source.labels.tolist() == [0, 101]


@pytest.mark.parametrize("name", SETS)
def test_the_digests_are_torchvisions(name: str) -> None:
    folder = Path(torchvision.datasets.__file__).parent
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    for remote in SETS[name].remotes:
        assert re.fullmatch("[0-9a-f]{32}", remote.md5) or name == "fgvc_aircraft"
        if not name.startswith("cifar"):  # there torchvision takes the pickles
            assert remote.md5 in text
            assert remote.name in text


# Without a network


@pytest.mark.parametrize("name", SETS)
def test_a_missing_file_is_named_with_its_digest_and_its_folder(name: str, root: Path) -> None:
    remote = SETS[name].remotes[0]
    with pytest.raises(SourceError, match="Network is unreachable") as caught:
        load_source(name)
    said = str(caught.value)
    assert "\n" not in said
    for fact in (f"data set {name} ", remote.name, remote.digest, str(Path(os.path.normpath(root / remote.folder)))):
        assert fact in said
    assert remote.urls[0] in caught.value.hint
    assert not [path for path in root.rglob("*") if path.is_file()]


def test_the_command_fails_with_one_line(root: Path) -> None:
    done = CliRunner().invoke(cli, ["extract", "cifar10", "-b", "lenet5", "--weights", "random:0", "-l", "fc1"])
    assert done.exit_code == 1
    error, hint = done.stderr.splitlines()
    assert "cifar-10-binary.tar.gz (md5 c32a1d4ab5d03f1284b67883e8d87530)" in error
    assert "cifar-10-python.tar.gz that torchvision uses contains pickles" in hint


@pytest.mark.parametrize("name", ["cifar10", "mnist", "food101"])
def test_another_file_under_the_name_is_refused_and_kept(name: str, root: Path) -> None:
    remote = SETS[name].remotes[0]
    path = root / remote.folder / remote.name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(SourceError, match=f"expected {remote.md5}"):
        load_source(name)
    assert path.read_bytes() == b"<html>not found</html>"


def test_an_archive_without_the_data_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, root, "cifar10", [tar({"else/x": b""})])
    with pytest.raises(SourceError, match="lacks cifar-10-batches-bin"):
        load_source("cifar10")
    assert os.listdir(root) == ["cifar-10-binary.tar.gz"]


def test_an_archive_that_leads_outside_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, root, "cifar10", [tar({"../escaped": b"", "cifar-10-batches-bin/x": b""})])
    with pytest.raises(SourceError, match="cannot be unpacked"):
        load_source("cifar10")
    assert not (root.parent / "escaped").exists()


def test_data_that_were_cut_after_unpacking_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, root, "cifar10", ARRAYS["cifar10"]()[0])
    load_source("cifar10")
    with (root / "cifar-10-batches-bin/data_batch_3.bin").open("r+b") as file:
        file.truncate(3000)
    with pytest.raises(SourceError, match=r"data set cifar10 in .* cannot be read"):
        load_source("cifar10")


# With one: a server on this machine


class Server(HTTPServer):
    """Serves `content`; `claimed` is what it says the length is."""

    content = b"x" * (3 << 20)
    claimed = len(content)
    silent = False
    asked = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.server.silent:
            time.sleep(2)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(self.server.claimed))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.undo()
    made = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def remote(server: Server, content: bytes = Server.content, path: str = "a/x.bin") -> Remote:
    url = f"http://127.0.0.1:{server.server_port}/{path}"
    return Remote((url,), hashlib.md5(content).hexdigest(), "here")


def test_a_file_is_downloaded_once_with_progress(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    for _ in range(2):
        fetch_all("toy", [remote(server)], tmp_path, Memo(tmp_path), lambda *now: seen.append(now))
    assert (tmp_path / "here/x.bin").read_bytes() == server.content
    assert server.asked == 1
    assert seen[-1] == ("download x.bin", 3, 3)


def test_the_next_mirror_is_asked_where_one_fails(server: Server, tmp_path: Path) -> None:
    good = remote(server)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}/x.bin"
        fetch_all("toy", [dataclasses.replace(good, urls=(dead, *good.urls))], tmp_path)
    assert (tmp_path / "here/x.bin").is_file()


@pytest.mark.parametrize("fault", ["other content", "cut off", "silent"])
def test_a_bad_download_leaves_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    wanted = remote(server)
    if fault == "other content":
        server.content = b"y" * server.claimed
    server.claimed += fault == "cut off"
    server.silent = fault == "silent"
    monkeypatch.setattr(featx.core.http, "DOWNLOAD_SECONDS", 0.2)
    start = time.monotonic()
    reason = {"other content": "sent has md5", "cut off": "the connection ended|IncompleteRead", "silent": "timed out"}
    with pytest.raises(SourceError, match=reason[fault]):
        fetch_all("toy", [wanted], tmp_path)
    assert time.monotonic() - start < 1.5
    assert os.listdir(tmp_path / "here") == []


def test_a_checked_file_is_not_read_again(
    server: Server, tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    memo = Memo(tmp_path)
    fetch_all("toy", [remote(server)], tmp_path, memo)
    monkeypatch.setattr(hashlib, "file_digest", None)
    fetch_all("toy", [remote(server)], tmp_path, memo)


# A name and a folder


def test_a_name_wins_over_a_folder_and_says_so(root: Path, fill: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, root, "mnist", ARRAYS["mnist"]()[0])
    fill(Path("mnist"), ["cat/1.png", "dog/2.png"])
    with pytest.warns(FeatxWarning, match=r"mnist means the data set of that name; .* \./mnist"):
        assert load_source("mnist").classes == tuple("0123456789")
    assert load_source("./mnist").classes == ("cat", "dog")


def test_the_command_line_says_it_too(fill: Any) -> None:
    fill(Path("digits"), ["cat/1.png", "dog/2.png"])
    done = CliRunner().invoke(cli, ["fit", "digits", "--pixels", "--limit", "60"])
    assert done.exit_code == 0
    assert "./digits" in done.stderr
