"""Small good files of every kind that featx reads, and ways to spoil them; the same numbers give the same bytes."""

from __future__ import annotations

import io
import random
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import h5py
import numpy as np
from PIL import Image

IMAGES = {"jpeg": "jpg", "png": "png", "gif": "gif", "webp": "webp", "tiff": "tif", "bmp": "bmp", "ppm": "ppm"}
"""Kinds that are single images, and what their files are called."""

KINDS = (*IMAGES, "zip", "tar", "npz", "npy", "h5", "csv")
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
NAMES = ("../x.png", "/etc/x.png", "a\n\x1b[2J.png", "a/../../x.png", "C:\\x.png", "..\\x.png", "a\0b.png", "a/0.png")


def noise(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return random bytes, always the same for a shape and seed."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encoded(pixels: Any, kind: str, mode: str = "RGB", **how: Any) -> bytes:
    """Return an encoded image."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.fromarray(pixels).convert(mode).save(buffer, kind, **how)
    return buffer.getvalue()


@cache
def samples(kind: str) -> tuple[bytes, ...]:
    """Return good files of a kind."""
    colour, exif = noise(12, 10, 3), Image.Exif()
    exif[0x0112] = 6
    frames = [Image.fromarray(noise(12, 10, 3, seed=i)) for i in (1, 2)]
    ways: dict[str, list[dict[str, Any]]] = {
        "jpeg": [{}, {"progressive": True}, {"exif": exif}, {"mode": "L"}, {"mode": "CMYK"}, {"subsampling": 0}],
        "png": [{}, {"mode": "L"}, {"mode": "P", "transparency": 1}, {"mode": "RGBA"}, {"mode": "1"}, {"exif": exif}],
        "gif": [{"mode": "P"}, {"save_all": True, "append_images": frames}, {"mode": "P", "transparency": 3}],
        "webp": [{}, {"lossless": True, "exif": exif}, {"save_all": True, "append_images": frames}],
        "tiff": [{"mode": m} for m in ("RGB", "L", "CMYK", "YCbCr", "I", "F", "1", "RGBA")]
        + [{"compression": c} for c in ("tiff_lzw", "jpeg", "packbits", "tiff_deflate")]
        + [{"exif": exif}, {"big_tiff": True}],
        "bmp": [{}, {"mode": "L"}, {"mode": "P"}, {"mode": "1"}],
        "ppm": [{}, {"mode": "L"}, {"mode": "1"}, {"mode": "I"}],
    }
    if kind in ways:
        made = [encoded(colour, kind.upper(), **{"mode": "RGB", **how}) for how in ways[kind]]
        if kind in ("png", "tiff"):
            made.append(encoded(noise(12, 10, 2).view(np.uint16)[..., 0], kind.upper(), mode="I;16"))
        return tuple(made)
    makers: dict[str, Callable[[], Iterable[bytes]]] = {
        "zip": _zips, "tar": _tars, "npz": _npzs, "npy": _npys, "h5": _h5s, "csv": _lists,
    }  # fmt: skip
    return tuple(makers[kind]())


def members() -> list[tuple[str, bytes]]:
    """Return names and bytes of a small data set."""
    found = [
        (f"{c}/{i}.png", encoded(noise(6, 5, 3, seed=k + 2 * i), "PNG")) for i in range(2) for k, c in enumerate("ab")
    ]
    return [*found, ("a/note.txt", b"no image")]


def _zips() -> Iterable[bytes]:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as out:
            for name, data in members():
                out.writestr(name, data)
        yield buffer.getvalue()
    train = [(f"train/{name}", data) for name, data in members()] + [("test/a/9.png", members()[0][1])]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for name, data in train:
            with out.open(name, "w", force_zip64=True) as file:
                file.write(data)
    yield buffer.getvalue()


def _tars() -> Iterable[bytes]:
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as out:
            for name, data in [*members(), ("ü/" + "d" * 60 + "/" + "n" * 80 + ".png", members()[0][1])]:
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(data), 1.5 if form == tarfile.PAX_FORMAT else 1
                out.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo("a/link.png")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            out.addfile(link)
        yield buffer.getvalue()


def _npzs() -> Iterable[bytes]:
    y = np.arange(4) % 2
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, X=noise(4, 3, 5), y=y)
        yield buffer.getvalue()
    buffer = io.BytesIO()
    np.savez(buffer, X_train=noise(4, 3, 5, 3), y_train=np.array(["p", "q", "p", "q"]), X_test=noise(2, 3, 5, 3),
             y_test=np.array(["q", "p"]), classes=np.array(["p", "q"]), ids=np.arange(4))  # fmt: skip
    yield buffer.getvalue()


def _npys() -> Iterable[bytes]:
    for array in (noise(4, 3, 5), noise(4, 3, 5, 3)):
        buffer = io.BytesIO()
        np.save(buffer, array)
        yield buffer.getvalue()


def _h5s() -> Iterable[bytes]:
    for how in ({}, {"chunks": (2, 3, 5), "compression": "gzip"}, {"chunks": (1, 3, 5), "fletcher32": True}):
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            file.create_dataset("X", data=noise(4, 3, 5), **how)
            file["y"] = np.arange(4) % 2
            file["classes"] = ["p", "q"]
        yield buffer.getvalue()


def _lists() -> Iterable[bytes]:
    yield b"path,label\na/0.png,a\nb/0.png,b\na/1.png,a\n"
    yield b'\xef\xbb\xbfpath,label,split\r\n"a/0.png",a,train\r\nb/0.png,"b, c",test\r\n'
    yield b"a/0.png,a\nb/0.png,b\n"


def spoilt(kind: str, luck: random.Random) -> tuple[bytes, str]:
    """Return one file of a kind with one to four mutations, and what was done to it."""
    data = bytearray(luck.choice(samples(kind)))
    own = {"zip": zip_field, "tar": tar_field, "npz": npz_header, "npy": npy_header}.get(kind)
    done = []
    for _ in range(luck.choice((1, 1, 2, 4))):
        way = own if own and luck.random() < 0.5 else luck.choice(GENERAL)
        try:
            way(data, luck, kind)
        except Exception:
            continue  # spoilt beyond what this way understands
        done.append(way.__name__)
    return bytes(data), "+".join(done) or "nothing"


# Ways that know nothing of the format


def flip(data: bytearray, luck: random.Random, kind: str) -> None:
    for _ in range(luck.randint(1, 8)):
        data[luck.randrange(len(data))] ^= 1 << luck.randrange(8)


def replace(data: bytearray, luck: random.Random, kind: str) -> None:
    at = luck.randrange(len(data))
    data[at : at + luck.randint(1, 16)] = luck.randbytes(luck.randint(1, 16))


def cut(data: bytearray, luck: random.Random, kind: str) -> None:
    del data[luck.randrange(len(data)) :]


def insert(data: bytearray, luck: random.Random, kind: str) -> None:
    at = luck.randrange(len(data) + 1)
    data[at:at] = luck.randbytes(luck.randint(1, 64))


def repeat(data: bytearray, luck: random.Random, kind: str) -> None:
    at, size = luck.randrange(len(data)), luck.randint(1, 600)
    data[at:at] = data[at : at + size]


def splice(data: bytearray, luck: random.Random, kind: str) -> None:
    other = luck.choice(samples(luck.choice((kind, kind, *KINDS))))
    data[luck.randrange(len(data)) :] = other[luck.randrange(len(other)) :]


def extreme(data: bytearray, luck: random.Random, kind: str) -> None:
    form = luck.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    at = luck.randrange(min(len(data), luck.choice((64, 1 << 20))))
    value = luck.choice(EXTREMES) if size < 8 else luck.choice((2**63 - 1, 2**64 - 1, 2**40))
    data[at : at + size] = struct.pack(form, value & (256**size - 1))


def dimensions(data: bytearray, luck: random.Random, kind: str) -> None:
    """Let an image claim another size; a PNG's checksum is made right again."""
    sides = [luck.choice((0, 1, 9, 11, 3000, 9459, 9461, 30000, 65535, 2**31 - 1)) for _ in range(2)]
    if kind == "png":
        data[16:24] = struct.pack(">II", *sides)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif kind == "bmp":
        data[18:26] = struct.pack("<II", *sides)
    elif kind == "gif":
        data[6:10] = struct.pack("<HH", *(s & 0xFFFF for s in sides))
    elif kind == "jpeg":
        at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        data[at + 5 : at + 9] = struct.pack(">HH", *(s & 0xFFFF for s in sides))
    else:
        extreme(data, luck, kind)


GENERAL = (flip, replace, cut, insert, repeat, splice, extreme, dimensions)


# Ways that know where an archive keeps its facts


def zip_field(data: bytearray, luck: random.Random, kind: str) -> None:
    """Change one field of the central directory, of a local header or of the end record."""
    signature, fields = luck.choice(
        (
            (
                b"PK\1\2",
                {6: "H", 8: "H", 10: "H", 16: "I", 20: "I", 24: "I", 28: "H", 30: "H", 32: "H", 34: "H", 42: "I"},
            ),
            (b"PK\3\4", {4: "H", 6: "H", 8: "H", 14: "I", 18: "I", 22: "I", 26: "H", 28: "H"}),
            (b"PK\5\6", {4: "H", 8: "H", 10: "H", 12: "I", 16: "I", 20: "H"}),
        )
    )
    places = [i for i in range(len(data) - 46) if data[i : i + 4] == signature]
    at = luck.choice(places or [max(0, data.rfind(signature))])
    if signature == b"PK\1\2" and luck.random() < 0.3:  # another name of as many bytes
        size = struct.unpack_from("<H", data, at + 28)[0]
        data[at + 46 : at + 46 + size] = luck.choice(NAMES).encode()[:size].ljust(size, b"x")
        return
    offset, form = luck.choice(list(fields.items()))
    limit = 0xFFFF if form == "H" else 0xFFFFFFFF
    value = luck.choice((*EXTREMES, len(data), len(data) - 1, 1 << 29, (1 << 29) + 1)) & limit
    struct.pack_into("<" + form, data, at + offset, value)


def tar_field(data: bytearray, luck: random.Random, kind: str) -> None:
    """Change one field of a header and mend the header's checksum."""
    at = 512 * luck.randrange(max(1, len(data) // 512))
    start, size = luck.choice(
        ((0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155), (386, 100))
    )
    values = [b"\xff" * size, b"\x80" + luck.randbytes(size), b"7" * size, bytes(size), luck.randbytes(size)]
    if size == 12:
        values += [b"%011o" % v for v in (0, 1, 511, 513, 2**33 - 1, len(data))] + [b"-0000001000", b"00000 00x"]
    elif size == 1:
        values = [bytes([c]) for c in b"01234567LKxgSVDNMXA\0"]
    elif size == 100:
        values += [name.encode() for name in NAMES]
    data[at + start : at + start + size] = luck.choice(values)[:size].ljust(size, b"\0")
    if luck.random() < 0.9:
        header = data[at : at + 512]
        header[148:156] = b" " * 8
        data[at + 148 : at + 156] = b"%06o\0 " % sum(header)


HEADERS = (
    "(-1, 3, 5)", "(4, 3, 5, 3)", "(4, 0, 5)", "(1000000000000, 0, 5)", "(4, 3)", "()", "(0, 3, 5)", "(4, 3, 5.0)",
    "(99999999999999999999, 3, 5)", "(True, 3, 5)", "(2147483648, 2147483648, 2)", "(1, 60000, 60000)", "'x'", "(" * 90,
    "(2, 6, 5)", "(60, 1, 1)", "(4, 15)", "(4,)", "(8589934592,)", "((4), 3, 5)",
)  # fmt: skip
TYPES = ("|O", "|u1", "<U3", ">i8", "<f8", "|S5", "|V4", "[('a', '|u1')]", "<m8", "|b1", "<u8", "<c16", "|i1", "|U0")


def npy_header(data: bytearray, luck: random.Random, kind: str) -> None:
    """Write another header of the array: shape, type or order."""
    fields = {"descr": "'|u1'", "fortran_order": "False", "shape": "(4, 3, 5)"}
    which = luck.choice(list(fields))
    kinds = {"descr": [t if t[0] == "[" else f"'{t}'" for t in TYPES], "shape": HEADERS, "fortran_order": ("True", "2")}
    fields[which] = luck.choice(kinds[which])
    text = "{" + ", ".join(f"'{k}': {v}" for k, v in fields.items()) + ", }"
    size = int.from_bytes(data[8:10], "little")
    data[10 : 10 + size] = text.encode().ljust(size - 1)[: size - 1] + b"\n"


def npz_header(data: bytearray, luck: random.Random, kind: str) -> None:
    """Rewrite one array of the archive: its header, its bytes or its name; the zip around it stays whole."""
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        arrays = {name: bytearray(archive.read(name)) for name in archive.namelist()}
    name = luck.choice(list(arrays))
    way = luck.choice((npy_header, npy_header, flip, cut, extreme, replace))
    way(arrays[name], luck, "npy")
    if luck.random() < 0.2:
        arrays[luck.choice(("X", "y.npy", "classes.npy", "ids.npy", "x.npy", "../X.npy", "X.npy.npy"))] = arrays.pop(
            name
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for key, value in arrays.items():
            out.writestr(key, bytes(value))
    data[:] = buffer.getvalue()
