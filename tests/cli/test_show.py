"""``featx show``: writes a picture, says where, and names bad images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image


def test_sheet_is_written_as_the_network_sees_it(featx_json: Any, tmp_path: Path) -> None:
    red, blue, target = (255, 0, 0), (0, 0, 255), tmp_path / "sheet.png"
    wide = Image.new("RGB", (80, 40), blue)
    wide.paste(red, (20, 0, 60, 40))  # what a centre crop leaves
    (tmp_path / "images" / "cats").mkdir(parents=True)
    wide.save(tmp_path / "images" / "cats" / "wide.png")
    shown = []
    for network in ((), ("-b", "lenet5")):
        code, document = featx_json("show", tmp_path / "images", *network, "-n", 5, "-o", target)
        assert code == 0
        assert document == {"output": str(target), "images": 1, "split": "all", "skipped": []}
        with Image.open(target) as picture:
            assert picture.format == "PNG"
            shown.append({colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or []} & {red, blue})
    assert shown == [{red, blue}, {red}]


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
