"""One data set of 200 images, written as a folder, WebDataset's shards, lists and archives; servers that give it."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from web_server import WebServer, serving

from featx.data.remote import reading
from featx.data.remote.requests import Policy

N = 200
SHARDS = 4
CLASSES = ("cat", "dog")
QUICK = Policy(in_flight=16, tries=6, pause=0.01, longest_pause=0.05, silence=20.0)


@dataclass(frozen=True)
class Pets:
    """Pixels, the files' names, their bytes, their labels, and the folder with all kinds of sources."""

    images: Any
    names: list[str]
    files: list[bytes]
    labels: list[int]
    root: Path


@pytest.fixture(scope="session")
def many_pets(tmp_path_factory: pytest.TempPathFactory) -> Pets:
    images = np.random.default_rng(0).integers(0, 256, (N, 28, 28, 3), np.uint8)
    labels = [i // (N // 2) for i in range(N)]
    names = [f"{CLASSES[label]}/{i:03d}.png" for i, label in enumerate(labels)]
    files = [_png(image) for image in images]
    pets = Pets(images, names, files, labels, tmp_path_factory.mktemp("pets"))
    for name, data in zip(names, files, strict=True):
        (pets.root / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (pets.root / "pets" / name).write_bytes(data)
    _write_archives(pets)
    _write_shards(pets)
    table = pa.table({"path": names, "label": [CLASSES[label] for label in labels]})
    pq.write_table(table, pets.root / "pets/manifest.parquet", row_group_size=64)
    hashes = [hashlib.sha256(data).hexdigest() for data in files]
    pq.write_table(table.append_column("sha256", pa.array(hashes)), pets.root / "pets/hashed.parquet")
    lines = [f"{name},{CLASSES[label]}\n" for name, label in zip(names, labels, strict=True)]
    (pets.root / "pets/list.csv").write_text("path,label\n" + "".join(lines))
    return pets


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _write_archives(pets: Pets) -> None:
    with zipfile.ZipFile(pets.root / "pets.zip", "w") as packed, tarfile.open(pets.root / "pets.tar", "w") as tar:
        for name in pets.names:
            packed.write(pets.root / "pets" / name, name)
            tar.add(pets.root / "pets" / name, name)
    images = pa.array(pets.files)
    labels = pa.array([CLASSES[label] for label in pets.labels])
    pq.write_table(pa.table({"image": images, "label": labels}), pets.root / "bytes.parquet", row_group_size=64)


def _write_shards(pets: Pets) -> None:
    folder = pets.root / "shards"
    folder.mkdir()
    each = N // SHARDS
    for shard in range(SHARDS):
        with tarfile.open(folder / f"shard-{shard:06d}.tar", "w") as tar:
            for i in range(shard * each, (shard + 1) * each):
                for ending, data in (("cls", CLASSES[pets.labels[i]].encode()), ("png", pets.files[i])):
                    info = tarfile.TarInfo(f"{i:03d}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    (folder / "shards.txt").write_text("# all of them\nshard-{000000..000003}.tar\n")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(reading, "policy", lambda: QUICK)


@pytest.fixture
def web(many_pets: Pets) -> Iterator[WebServer]:
    """The data set at a web server."""
    with serving(many_pets.root) as server:
        yield server


@pytest.fixture(scope="session")
def _moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def _filled_bucket(_moto: str, many_pets: Pets) -> str:
    import boto3

    client = boto3.client(
        "s3", endpoint_url=_moto, aws_access_key_id="x", aws_secret_access_key="y", region_name="us-east-1"
    )
    client.create_bucket(Bucket="zoo")
    for path in sorted(many_pets.root.rglob("*")):
        if path.is_file():
            client.put_object(Bucket="zoo", Key=path.relative_to(many_pets.root).as_posix(), Body=path.read_bytes())
    client.close()
    return _moto


@pytest.fixture
def s3(_filled_bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The data set in a bucket; what it is told by are S3's own variables."""
    for name, value in {
        "AWS_ENDPOINT_URL": _filled_bucket,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    reading._shared.clear()
    return "s3://zoo"
