"""Stores that somebody made up, sealed as featx seals: what a reader must refuse, or read without any harm."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from outside import Outside

from featx.cache.folder import KeyFolder, receipt_name, sealed_file
from featx.cache.schema import seal
from featx.core.hashing import canonical_json, digest_of

ESCAPE = "\x1b]0;owned\x07\x1b[2J../../etc"
Forgery = Callable[[Path, Outside], None]


def forge(folder: Path, build: Forgery, outside: Outside) -> None:
    """Forge a key's folder; one whose key was changed gets the name that goes with it."""
    build(folder, outside)
    path = folder / "key.json"
    if path.is_file() and path.stat().st_size < 1 << 20 and not path.is_symlink():
        try:
            digest = digest_of(json.loads(path.read_bytes()))
        except (ValueError, RecursionError):
            return
        if digest != folder.name:
            folder.rename(folder.with_name(digest))
            _reseal(folder.with_name(digest))


def _reseal(folder: Path) -> None:
    for path in [folder / "plan.json", folder / "about.json", *sorted((folder / "shards").glob("*.json"))]:
        body = json.loads(path.read_bytes())
        body.pop("check")
        path.write_text(json.dumps(seal(body | {"key": folder.name})))


def sealed(name: str, change: Callable[[dict[str, Any]], Any]) -> Forgery:
    """Change the values of a sealed file, and seal it again."""

    def build(folder: Path, outside: Outside) -> None:
        body = json.loads((folder / name).read_bytes())
        body.pop("check", None)
        change(body)
        text = json.dumps(seal(body)) if name != "key.json" else json.dumps(body)
        (folder / name).write_text(text)

    return build


def text(name: str, make: Callable[[bytes], bytes]) -> Forgery:
    """Replace the text of a file."""
    return lambda folder, outside: (folder / name).write_bytes(make((folder / name).read_bytes())) and None


def sidecar(name: str, data: Callable[[int], bytes]) -> Forgery:
    """Replace ids.json or computed.bin, and say so in the plan."""

    def build(folder: Path, outside: Outside) -> None:
        made = data(json.loads((folder / "key.json").read_bytes())["n_rows"])
        (folder / name).write_bytes(made)
        field = {"ids.json": "ids_sha256", "computed.bin": "computed_sha256"}[name]
        sealed("plan.json", lambda body: body.update({field: hashlib.sha256(made).hexdigest()}))(folder, outside)

    return build


def sparse(name: str, size: int) -> Forgery:
    """Make a file huge that takes no room."""
    return lambda folder, outside: os.truncate(folder / name, size)


def replaced(name: str, make: Callable[[Path, Outside], Any]) -> Forgery:
    """Put something else in the place of a file or folder."""

    def build(folder: Path, outside: Outside) -> None:
        path = folder / name if name != "shard" else next((folder / "shards").glob("00000-*.h5"))
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        make(path, outside)

    return build


def shard(build_h5: Callable[[h5py.File, Outside], Any], sized: bool = True) -> Forgery:
    """Put HDF5 in the place of shard 0 with a receipt that agrees."""

    def build(folder: Path, outside: Outside) -> None:
        key = KeyFolder(folder)
        receipt = key.receipt(0, key.plan().plan, key.key()["n_rows"])
        path = folder / "shards" / "forged"
        with h5py.File(path, "w", libver=("earliest", "v110")) as file:
            build_h5(file, outside)
        data = path.read_bytes()
        path.unlink()
        data += bytes(max(0, receipt.bytes - len(data)))
        put_shard(folder, data)

    return build


def put_shard(folder: Path, data: bytes, **changes: Any) -> None:
    """Store bytes as shard 0, with a receipt that is sealed and says their SHA-256 and number."""
    key = KeyFolder(folder)
    receipt = key.receipt(0, key.plan().plan, key.key()["n_rows"])
    (key.shards / receipt.file).unlink()
    digest = hashlib.sha256(data).hexdigest()
    body = receipt.as_dict() | {"sha256": digest, "bytes": len(data)} | changes
    (key.shards / f"00000-{digest[:12]}.h5").write_bytes(data)
    (key.shards / receipt_name(0)).write_text(json.dumps(sealed_file(key.digest, receipt=body)))


def _virtual(file: h5py.File, outside: Outside) -> None:
    layout = h5py.VirtualLayout((8, 6), "<f4")
    layout[:] = h5py.VirtualSource(str(outside.folder / "X.h5"), "X", (8, 6))
    file.create_virtual_dataset("X", layout)


def _vlen(file: h5py.File, outside: Outside) -> None:
    file.create_dataset("X", data=np.zeros((8, 6), "<f4"))
    for name, value in {"schema": 1, "key": "x" * 64, "start": 0}.items():
        file["X"].attrs[name] = value


def _many_names(folder: Path, outside: Outside) -> None:
    for number in range(2000):
        (folder / "shards" / f"{number + 5:05d}.json").touch()
    for name in (
        "..%2f..",
        "0000000000001.json",
        "00001.json.json",
        "\x1b[2J.json",
        "00003-../../.h5".replace("/", "_"),
    ):
        (folder / "shards" / name).touch()


def _pickled(outside: Outside) -> bytes:
    return b"cos\nsystem\n(S'touch " + os.fsencode(outside.marker) + b"'\ntR."


DEEP = b"[" * 50_000 + b"]" * 50_000
NESTED = json.loads("[" * 200 + "]" * 200)


def _receipt(**values: Any) -> Forgery:
    return sealed("shards/00000.json", lambda body: body["receipt"].update(values))


def _plan(**values: Any) -> Forgery:
    return sealed("plan.json", lambda body: body["plan"].update(values))


def _key(**values: Any) -> Forgery:
    return sealed("key.json", lambda body: body.update(values))


def _about(**values: Any) -> Forgery:
    return sealed("about.json", lambda body: body["about"].update(values))


def _rows_claimed(n_rows: int) -> Forgery:
    def build(folder: Path, outside: Outside) -> None:
        _key(n_rows=n_rows)(folder, outside)
        os.truncate(folder / "rows.bin", min(n_rows * 32, 1 << 43))
        os.truncate(folder / "computed.bin", min(n_rows // 8, 1 << 40))
        os.truncate(folder / "ids.json", 1 << 40)

    return build


FORGERIES: dict[str, Forgery] = {
    "HDF5 that points elsewhere: external link": shard(
        lambda f, o: f.__setitem__("X", h5py.ExternalLink(str(o.folder / "X.h5"), "/X"))
    ),
    "HDF5 that points elsewhere: external storage": shard(
        lambda f, o: f.create_dataset("X", (8, 6), "<f4", external=[(str(o.folder / "raw.bin"), 0, 192)])
    ),
    "HDF5 that points elsewhere: virtual dataset": shard(_virtual),
    "HDF5 that points elsewhere: soft link": shard(lambda f, o: f.__setitem__("X", h5py.SoftLink("/Y"))),
    "HDF5 that points elsewhere: itself": shard(lambda f, o: f.__setitem__("X", h5py.SoftLink("/X"))),
    "HDF5 that points elsewhere: group": shard(lambda f, o: f.create_group("X")),
    "HDF5 types: objects": shard(
        lambda f, o: f.create_dataset("X", data=np.array([["a"] * 6] * 8, object), dtype=h5py.string_dtype())
    ),
    "HDF5 types: references": shard(lambda f, o: f.create_dataset("X", (8, 6), h5py.ref_dtype)),
    "HDF5 types: region references": shard(lambda f, o: f.create_dataset("X", (8, 6), h5py.regionref_dtype)),
    "HDF5 types: sequences": shard(lambda f, o: f.create_dataset("X", (8, 6), h5py.vlen_dtype(np.float32))),
    "HDF5 types: compound": shard(lambda f, o: f.create_dataset("X", (8, 6), [("a", "<f4"), ("b", "S9")])),
    "HDF5 types: compressed": shard(lambda f, o: f.create_dataset("X", data=np.zeros((8, 6), "<f4"), compression=9)),
    "HDF5 types: huge": shard(lambda f, o: f.create_dataset("X", (2**40, 6), "<f4", chunks=(2**10, 6))),
    "HDF5 types: attributes in a heap": shard(_vlen),
    "HDF5 types: no HDF5": lambda f, o: put_shard(f, b"PK" * 1120),
    "HDF5 types: a pickle": lambda f, o: put_shard(f, _pickled(o).ljust(2240)),
    "huge claims: key.json of 1 GB": sparse("key.json", 1 << 30),
    "huge claims: plan.json of 1 GB": sparse("plan.json", 1 << 30),
    "huge claims: about.json of 1 GB": sparse("about.json", 1 << 30),
    "huge claims: receipt of 1 GB": sparse("shards/00000.json", 1 << 30),
    "huge claims: ids.json of 1 TB": sparse("ids.json", 1 << 40),
    "huge claims: rows.bin of 8 TB": sparse("rows.bin", 1 << 43),
    "huge claims: a million rows": _rows_claimed(10**6),
    "huge claims: 10**9 rows": _rows_claimed(10**9),
    "huge claims: 2**40 rows": _rows_claimed(2**40),
    "huge claims: 10**30 rows": _key(n_rows=10**30),
    "huge claims: shards of 10**9 rows": _plan(shard_rows=10**9, block_rows=10**9),
    "huge claims: 2**31 columns": _plan(columns=2**31, shard_rows=1, block_rows=1),
    "huge claims: a shard of 1 TB": _receipt(bytes=1 << 40),
    "huge claims: a shard at byte 2**62": _receipt(offset=2**62, bytes=2**62),
    "huge claims: 10**6 rows skipped": _receipt(skipped=[[row, "x"] for row in range(10**6)]),
    "huge claims: a reason of 10 MB": _receipt(skipped=[[1, "x" * 10**7]]),
    "huge claims: 2,000 receipts": _many_names,
    "JSON: nested 50,000 deep": text("key.json", lambda old: DEEP),
    "JSON: plan nested 50,000 deep": text("plan.json", lambda old: DEEP),
    "JSON: about nested 200 deep": _about(source=NESTED),
    "JSON: key nested 200 deep": _key(options={"a": NESTED}),
    "JSON: NaN": text("key.json", lambda old: old.replace(b'"schema": 1', b'"schema": NaN')),
    "JSON: Infinity": text(
        "shards/00000.json", lambda old: old.replace(b'"seconds": {', b'"seconds": {"x": -Infinity, ')
    ),
    "JSON: 1e400": text("plan.json", lambda old: old.replace(b'"batch_size": 4', b'"batch_size": 1e400')),
    "JSON: 10**5000": text("key.json", lambda old: old.replace(b'"n_rows": 24', b'"n_rows": ' + b"9" * 5000)),
    "JSON: 10**4000": _key(n_rows=10**4000),
    "JSON: duplicate names": text("key.json", lambda old: old.replace(b'"schema": 1', b'"schema": 7, "schema": 1')),
    "JSON: half a surrogate": _about(source="\ud800", split="\udcff"),
    "JSON: no UTF-8": text("key.json", lambda old: b"\xff\xfe" + old),
    "JSON: UTF-16": text("key.json", lambda old: old.decode().encode("utf-16")),
    "JSON: a pickle": lambda f, o: (f / "key.json").write_bytes(_pickled(o)) and None,
    "JSON: true for 1": _key(schema=True),
    "names: control characters in ids": sidecar(
        "ids.json", lambda n: canonical_json([f"{ESCAPE}{i}" for i in range(n)])
    ),
    "names: ids that are paths": sidecar("ids.json", lambda n: canonical_json([f"../../{i}\0" for i in range(n)])),
    "names: ids that are numbers": sidecar("ids.json", lambda n: canonical_json(list(range(n)))),
    "names: too many ids": sidecar("ids.json", lambda n: canonical_json(["x"] * (n + 1))),
    "names: control characters in the key": _key(backbone=ESCAPE, layer=ESCAPE, weights=ESCAPE),
    "names: values of other types in the key": _key(backbone=[1], layer={"a": 1}, weights=None, options=7, code=[]),
    "names: control characters in the record": _about(source=ESCAPE, split=ESCAPE, backbone=ESCAPE, weights=ESCAPE),
    "names: shell words in the record": _about(source="$(touch ran); `touch ran`", weights="; touch ran"),
    "names: other types in the record": _about(source=[1], split={"a": {}}, backbone=7, weights=True, versions=3),
    "names: a reason with control characters": _receipt(skipped=[[1, ESCAPE]]),
    "names: a digest that is a path": _receipt(sha256="../../../../etc/passwd".ljust(64, "0")),
    "names: an odd digest": _receipt(sha256="\uff10" * 64),
    "names: versions that are code": _receipt(versions={"__import__('os').system('touch ran')": "x"}),
    "links: key.json": replaced("key.json", lambda p, o: p.symlink_to(o.folder / "raw.bin")),
    "links: plan.json": replaced("plan.json", lambda p, o: p.symlink_to(o.folder / "raw.bin")),
    "links: ids.json": replaced("ids.json", lambda p, o: p.symlink_to(o.folder / "raw.bin")),
    "links: rows.bin": replaced("rows.bin", lambda p, o: p.symlink_to(o.folder / "raw.bin")),
    "links: about.json": replaced("about.json", lambda p, o: p.symlink_to(o.folder / "raw.bin")),
    "links: the folder of shards": replaced("shards", lambda p, o: p.symlink_to(o.folder / "folder")),
    "links: a shard": replaced("shard", lambda p, o: p.symlink_to(o.folder / "X.h5")),
    "links: a receipt": replaced("shards/00000.json", lambda p, o: p.symlink_to(o.folder / "raw.bin")),
    "links: lock and used": lambda f, o: (
        [((f / name).unlink(missing_ok=True), (f / name).symlink_to(o.folder / "raw.bin")) for name in ("lock", "used")]
        and None
    ),
    "no files: a pipe for a shard": replaced("shard", lambda p, o: os.mkfifo(p)),
    "no files: a pipe for a receipt": replaced("shards/00000.json", lambda p, o: os.mkfifo(p)),
    "no files: a pipe for the key": replaced("key.json", lambda p, o: os.mkfifo(p)),
    "no files: a pipe for the plan": replaced("plan.json", lambda p, o: os.mkfifo(p)),
    "no files: a pipe for the record": replaced("about.json", lambda p, o: os.mkfifo(p)),
    "no files: a pipe for the lock": lambda f, o: (
        [((f / name).unlink(missing_ok=True), os.mkfifo(f / name)) for name in ("lock", "used")] and None
    ),
    "no files: a folder for a shard": replaced("shard", lambda p, o: p.mkdir()),
    "no files: a folder for the key": replaced("key.json", lambda p, o: p.mkdir()),
    "no files: a file for the shards": replaced("shards", lambda p, o: p.write_bytes(b"x")),
}
"""By group and name."""
