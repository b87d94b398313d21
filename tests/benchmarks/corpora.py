"""Image files that packages ship for their own tests and examples: which are read, and why the others are not.

    python tests/benchmarks/corpora.py FOLDER... [--refusals]

Walks the folders (unpacked source distributions, for example `pip download --no-deps --no-binary :all: pillow`),
decodes every file that is an image by its name or by its first bytes, and prints a table by format: how many were read,
how many were refused, and each reason once. A refusal that does not say what the file is, or what to do, is listed as
unexplained; so is whatever is raised that is no ImageError. Exit code 1 where there is one. `--refusals` prints a line
for each file that was refused. Files that are no images by both are counted by kind.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from featx.data.decoding import decode, image_suffixes
from featx.data.kinds import can_read, kind_of
from featx.data.listing import PICTURES, RARE
from featx.errors import ImageError

MAX_BYTES = 1 << 29
UNEXPLAINED = re.compile(r"no known image format|KeyError|Traceback|0x[0-9a-f]{6,}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--refusals", action="store_true", help="a line for each file that was refused")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    began = time.monotonic()
    tally = Tally(args.refusals)
    for folder in args.folders:
        for path in files_below(folder):
            tally.add(path, path.relative_to(folder).as_posix())
    tally.show(time.monotonic() - began)
    sys.exit(1 if tally.unexplained else 0)


def files_below(folder: Path) -> Iterator[Path]:
    """Give every ordinary file that is small enough to be read."""
    for root, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(root, name)
            if path.is_file() and not path.is_symlink() and path.stat().st_size <= MAX_BYTES:
                yield path


class Tally:
    """Counts files by format."""

    def __init__(self, show_refusals: bool) -> None:
        self.show_refusals = show_refusals
        self.read: Counter[str] = Counter()
        self.refused: dict[str, Counter[str]] = defaultdict(Counter)
        self.others: Counter[str] = Counter()
        self.unexplained: list[str] = []

    def add(self, path: Path, name: str) -> None:
        """Decode a file that is an image, by its name or by its content."""
        data = path.read_bytes()
        kind = kind_of(data, name)
        called = path.suffix.lower() in (*image_suffixes(), *RARE, *PICTURES)
        is_image = kind is not None and kind.is_image and (kind.is_sure or not can_read(kind))
        what = kind.what if kind else "nothing known" if data else "an empty file"
        if not called and not is_image:
            self.others[what] += 1
            return
        try:
            decode(data, name)
            self.read[what] += 1
        except ImageError as exc:
            self.refused[what][reason_of(exc.message, name)] += 1
            # Bytes that are of no kind, by another name than theirs, can only be called so.
            if not exc.hint or (kind is not None and kind.is_image and UNEXPLAINED.search(exc.message)):
                self.unexplained.append(f"{name}: {exc}")
            if self.show_refusals:
                print(exc)
        except BaseException as exc:  # what `decode` must never raise
            self.unexplained.append(f"{name}: {type(exc).__name__}: {exc}")

    def show(self, seconds: float) -> None:
        """Print the table."""
        read, refused = sum(self.read.values()), sum(sum(found.values()) for found in self.refused.values())
        print("| format | read | refused | reasons |\n|---|---:|---:|---|")
        for what in sorted(set(self.read) | set(self.refused), key=lambda what: what.split(" ", 1)[-1].lower()):
            reasons = self.refused[what]
            said = "; ".join(f"{text} ({count})" if count > 1 else text for text, count in reasons.most_common())
            print(f"| {what} | {self.read[what]} | {sum(reasons.values())} | {said} |")
        print(f"\n{read + refused:,} images in {seconds:.0f} s: {read:,} read, {refused:,} refused,")
        print(f"{len(self.unexplained)} of these unexplained; {sum(self.others.values()):,} files that are no images")
        for line in self.unexplained:
            print("UNEXPLAINED", line)


def reason_of(message: str, name: str) -> str:
    """Return what is wrong, without the name and without numbers that differ from file to file."""
    text = message.removeprefix(f"image {name}").strip(" :")
    text = re.sub(r"^(\(.*?\) )?cannot be decoded: ", "", text)
    return re.sub(r"-?\d[\d,]{2,}|(?<=\()-?\d+(?= bytes)", "N", text)[:110].replace("|", "/")


if __name__ == "__main__":
    main()
