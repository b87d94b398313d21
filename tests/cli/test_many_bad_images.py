"""One bad image in ten: each named with its reason, the others' features as if it had never been there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from bad_images import LAYER, WAYS, draw, special, zipped

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]
LENET = ("-b", "lenet5", "--weights", "random:0", "-l", LAYER)


def table(path: Path) -> tuple[list[str], Any]:
    with h5py.File(path) as file:
        (split,) = [name for name in file if name != "classes"]
        return list(file[split]["ids"].asstr()[()]), file[split][LAYER][()]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_bad_images_among_many(featx: Any, featx_json: Any, tmp_path: Path, kind: str) -> None:
    folder, target = tmp_path / "images", tmp_path / "out.h5"
    broken = draw(folder, 200, 20)
    assert len(broken) == 20 > len(WAYS)
    source = folder if kind == "folder" else zipped(folder)
    wanted = {name for name in broken if kind == "folder" or not special(folder / name)}
    refused = featx("extract", source, *LENET)
    assert refused.exit_code == 1
    assert sum(f"image {name} " in refused.stderr for name in wanted) == 1
    code, document = featx_json("extract", source, *LENET, "--on-error", "skip", "-o", target)
    assert code == 3
    assert {entry["id"] for entry in document["skipped"]} == wanted
    assert all(entry["id"] in entry["reason"] for entry in document["skipped"])
    told = featx("extract", source, *LENET, "--on-error", "skip").stdout.splitlines()
    assert len([line for line in told if line.startswith("skipped ")]) == 11
    assert "listed here" in told[-1]
    assert "--json" in told[-1]
    for name in broken:
        (folder / name).unlink()
    alone = tmp_path / "alone.h5"
    assert featx("extract", folder, *LENET, "-o", alone).exit_code == 0
    assert table(target)[0] == table(alone)[0]
    np.testing.assert_array_equal(table(target)[1], table(alone)[1])
