"""``featx show``: writes a picture, says where, and names bad images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image


def greys_of(path: Path) -> int:
    """How many grey levels a picture has."""
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return len(set(picture.convert("L").getdata()))


def test_sheet_is_written_as_the_network_sees_it(featx_json: Any, tmp_path: Path) -> None:
    target, decoded = tmp_path / "sheet.png", tmp_path / "decoded.png"
    code, document = featx_json("show", "digits", "-b", "lenet5", "-n", 5, "-o", target)
    assert code == 0
    assert document == {"output": str(target), "images": 5, "split": "all", "skipped": []}
    assert featx_json("show", "digits", "-n", 5, "-o", decoded)[0] == 0
    assert greys_of(target) > 1.2 * greys_of(decoded)  # the digits' seventeen levels, and those between them


def test_bad_image_is_named_and_exits_with_3(featx_json: Any, tmp_path: Path) -> None:
    folder = tmp_path / "images" / "cats"
    folder.mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(folder / "good.png")
    (folder / "bad.png").write_bytes(b"")
    code, document = featx_json("show", folder.parent, "-o", tmp_path / "sheet.png")
    assert code == 3
    assert [line["id"] for line in document["skipped"]] == ["cats/bad.png"]
    assert (tmp_path / "sheet.png").exists()


def test_target_is_checked_before_the_work(featx: Any, tmp_path: Path) -> None:
    result = featx("show", "digits", "-o", tmp_path / "nowhere" / "sheet.png")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr


def test_unknown_split_and_backbone_leave_no_picture(featx: Any, tmp_path: Path) -> None:
    for args in (("--split", "tset"), ("-b", "resnet81")):
        result = featx("show", "digits", "-o", tmp_path / "sheet.png", *args)
        assert result.exit_code == 2
        assert not (tmp_path / "sheet.png").exists()
