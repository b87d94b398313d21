# python tests/benchmarks/planted.py --data cifar10.zip --weights resnet18-tinyimagenet.pth --out FOLDER
#
# `featx audit` on 10,000 CIFAR-10 images, of which 300 are shown again, changed: ten kinds of change, 30 images each.
# Recall by kind, and precision over all; what was found and not planted is drawn on a sheet, since CIFAR-10 has
# near-duplicates of its own. Two cores: about three minutes.
from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

IMAGES, EACH, TESTED = 10_000, 30, 1_000


def shifted(image, rng):
    return moved(image, *rng.choice([-3, -2, -1, 1, 2, 3], 2))


def moved(image, x, y):
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, int(x), 0, 1, int(y)))  # black comes in


def cropped(image, rng):
    side = round(0.9 * image.width)
    x, y = rng.integers(0, image.width - side + 1, 2)
    return image.crop((x, y, x + side, y + side)).resize(image.size, Image.Resampling.BICUBIC)


def recompressed(image, rng, quality=50):
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


def other_hue(image, rng):
    h, s, v = image.convert("HSV").split()
    turn = int(rng.choice([-1, 1]) * rng.integers(13, 51))  # of 256: 0.05 to 0.2 of the circle
    return Image.merge("HSV", (h.point(lambda value: (value + turn) % 256), s, v)).convert("RGB")


KINDS = {
    "shift 1 to 3 px": shifted,
    "shift 3 px": lambda image, rng: moved(image, *rng.choice([-3, 3], 2)),
    "crop 90 %": cropped,
    "mirror": lambda image, rng: ImageOps.mirror(image),
    "JPEG quality 50": recompressed,
    "brightness + 20 %": lambda image, rng: ImageEnhance.Brightness(image).enhance(1.2),
    "brightness - 20 %": lambda image, rng: ImageEnhance.Brightness(image).enhance(0.8),
    "hue": other_hue,
    "mirror and shift": lambda image, rng: shifted(ImageOps.mirror(image), rng),
    "crop, brighter, JPEG": lambda image, rng: recompressed(
        ImageEnhance.Brightness(cropped(image, rng)).enhance(1.2), rng
    ),
}


def plant(data: Path, target: Path, seed: int) -> dict[str, tuple[str, str]]:
    """Write the images, and return the kind and the original of each that was planted, by id."""
    rng = np.random.default_rng(seed)
    planted = {}
    with zipfile.ZipFile(data) as archive, zipfile.ZipFile(target, "w") as out:
        names = sorted(name for name in archive.namelist() if name.lower().endswith((".jpg", ".png", ".jpeg")))
        chosen = [names[i] for i in rng.permutation(len(names))[:IMAGES]]
        labels = {name: name.rsplit("/", 2)[1] for name in chosen}
        for i, name in enumerate(chosen):
            split = "test" if i < TESTED else "train"
            out.writestr(f"{split}/{labels[name]}/{i:05d}{Path(name).suffix}", archive.read(name))
        originals = rng.permutation(np.arange(TESTED, IMAGES))[: EACH * len(KINDS)].tolist()
        for j, i in enumerate(originals):
            kind = list(KINDS)[j % len(KINDS)]
            image = Image.open(io.BytesIO(archive.read(chosen[i]))).convert("RGB")
            data_out = io.BytesIO()
            KINDS[kind](image, rng).save(data_out, "PNG")
            name = f"test/{labels[chosen[i]]}/planted{j:03d}.png"
            out.writestr(name, data_out.getvalue())
            planted[name] = kind, f"train/{labels[chosen[i]]}/{i:05d}{Path(chosen[i]).suffix}"
    return planted


def sheet(source: Path, pairs, columns: int = 10, side: int = 64) -> Image.Image:
    """Draw pairs of images, by their names in the archive, side by side."""
    rows = -(-len(pairs) // columns)
    picture = Image.new("RGB", (columns * (2 * side + 12), rows * (side + 16)), "white")
    draw = ImageDraw.Draw(picture)
    with zipfile.ZipFile(source) as archive:
        for i, (a, b, text) in enumerate(pairs):
            x, y = i % columns * (2 * side + 12), i // columns * (side + 16)
            for k, name in enumerate((a, b)):
                image = Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((side, side), Image.NEAREST)
                picture.paste(image, (x + k * side, y))
            draw.text((x + 2, y + side + 1), f"{i + 1}: {text}", "black")
    return picture


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", default="64")
    parser.add_argument("--layer", default="layer3:avg")
    parser.add_argument("--home", type=Path, help="where features are kept; default: in --out")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    source = asked.out / f"planted-{asked.seed}.zip"
    planted = plant(asked.data, source, asked.seed)
    network = ["-b", "resnet18", "--weights", str(asked.weights), "--size", asked.size, "-l", asked.layer]
    command = [
        "audit",
        str(source),
        *(network if asked.weights else []),
        "--json",
        "--home",
        str(asked.home or asked.out / "home"),
    ]
    began = time.perf_counter()
    said = subprocess.run([sys.executable, "-m", "featx", *command], capture_output=True, text=True, check=True)
    print(f"{time.perf_counter() - began:.0f} s")
    leaks = json.loads(said.stdout)["leaks"]
    print(json.loads(said.stdout)["seconds"])
    pairs = {frozenset((leak["a"], leak["b"])): leak for leak in leaks}
    found = Counter(kind for name, (kind, original) in planted.items() if frozenset((name, original)) in pairs)
    for kind in KINDS:
        print(f"{kind:24} {found[kind] / EACH:.3f}")
    right = {frozenset((name, original)) for name, (_, original) in planted.items()}
    others = [leak for pair, leak in pairs.items() if pair not in right]
    print(f"recall {sum(found.values()) / len(planted):.3f}, found {len(leaks)}, of which not planted {len(others)}")
    changed = [pair for pair in pairs if pair & planted.keys()]
    print(
        f"of {len(changed)} pairs with a planted image, {sum(pair in right for pair in changed)} are the planted ones"
    )
    missed = [(a, b, kind) for a, (kind, b) in planted.items() if frozenset((a, b)) not in pairs]
    if others:
        shown = [(leak["a"], leak["b"], f"{leak['score']:.2f}") for leak in others]
        sheet(source, shown).save(asked.out / "not-planted.png")
    if missed:
        sheet(source, missed).save(asked.out / "missed.png")


if __name__ == "__main__":
    main()
