"""What a TIFF says of itself, and what libtiff says of it.

Pillow decodes compressed TIFFs with libtiff, whose errors would be printed on standard error, without a name. Its error
handler is reached through ctypes alone: where the library that Pillow loaded is not found, its lines go where they
always went.
"""

from __future__ import annotations

import ctypes
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p)
"""module, format, va_list: the last is passed on as it came, a pointer on every platform that featx runs on."""

_LINE = 512
_LIBRARY = re.compile(r"\S*/libtiff[^/\s]*\.so[^/\s]*$", re.M)
_heard = threading.local()
_hooking = threading.Lock()


@contextmanager
def listening() -> Iterator[list[str]]:
    """Give a list that fills with what libtiff says in this thread, a line each."""
    with _hooking:  # two at once would each hook libtiff, and one handler be freed while it is in use
        _hook()
    before = getattr(_heard, "lines", None)
    lines: list[str] = []
    _heard.lines = lines
    try:
        yield lines
    finally:
        _heard.lines = before


@cache
def _hook() -> Any:
    """Set libtiff's error handler, once a process; return what must stay alive, None where there is no libtiff."""
    with suppress(OSError, AttributeError):
        library = _loaded()
        if library is None:
            return None
        write = ctypes.CDLL(None).vsnprintf
        write.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p]
        library.TIFFSetErrorHandler.restype = ctypes.c_void_p
        library.TIFFSetErrorHandler.argtypes = [ctypes.c_void_p]
        usual: list[Any] = []

        def handler(module: bytes | None, form: int, values: int) -> None:
            lines = getattr(_heard, "lines", None)
            if lines is None:  # not featx: somebody else's TIFF
                for speak in usual:
                    speak(module, form, values)
                return
            text = ctypes.create_string_buffer(_LINE)
            write(text, _LINE, form, values)
            where = (module or b"").removeprefix(b"tempfile.tif")  # what Pillow calls every file
            said = [part.decode("utf-8", "replace") for part in (where, text.value) if part]
            lines.append(" ".join(": ".join(said).split()))

        kept = _Handler(handler)
        old = library.TIFFSetErrorHandler(ctypes.cast(kept, ctypes.c_void_p))
        usual += [_Handler(old)] if old else []
        return kept, usual
    return None


def _loaded() -> ctypes.CDLL | None:
    """Return the libtiff that this process has loaded already."""
    Image.preinit()
    found = _LIBRARY.search(Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace"))
    return ctypes.CDLL(found[0]) if found else None


BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, SAMPLES_PER_PIXEL = 258, 259, 262, 277
MAX_SAMPLE, PLANAR, SAMPLE_FORMAT, S_MAX_SAMPLE = 281, 284, 339, 341


def numbers(data: bytes, *tags: int) -> list[tuple[float, ...]]:
    """Return the numbers of some tags in a TIFF's first directory; of one that is missing or damaged, none."""
    try:
        file = io.BytesIO(data)
        directory = ImageFileDirectory_v2(data[:16] if b"\x2b" in data[2:4] else data[:8])
        file.seek(directory.next)
        directory.load(file)
    except Exception:  # Pillow's parser raises whatever it meets
        return [()] * len(tags)
    return [tag_numbers(directory, tag) for tag in tags]


def tag_numbers(directory: ImageFileDirectory_v2, tag: int) -> tuple[float, ...]:
    """Return the numbers of one tag; none where it is missing or damaged."""
    try:
        value = directory.get(tag)
    except Exception:  # values are parsed when they are asked for
        return ()
    values = value if isinstance(value, tuple) else (value,)
    return tuple(number for number in values if isinstance(number, (int, float)) and number == number)
