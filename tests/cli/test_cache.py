"""``featx cache`` on a small real store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from programs import PROGRAM, store_features

from featx.cache.store import FeatureStore


def test_ls_shows_what_is_stored(featx: Any, stored: dict[str, str]) -> None:
    result = featx("cache", "ls")
    assert result.exit_code == 0
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines()[1:3]}
    whole, part = lines[stored["layer3:avg"][:12]], lines[stored["layer4"][:12]]
    assert whole[1:6] == ["digits", "train", "resnet18", "layer3:avg", "8"]
    assert "whole" in whole
    assert "part" in part
    assert result.stdout.splitlines()[-1].startswith("2 entries, ")


def test_ls_under_json(featx_json: Any, stored: dict[str, str], home: Path) -> None:
    code, document = featx_json("cache", "ls")
    assert code == 0
    assert document["home"] == str(home)
    entries = {entry["digest"]: entry for entry in document["entries"]}
    assert entries[stored["layer3:avg"]]["complete"] is True
    assert entries[stored["layer4"]]["complete"] is False
    assert document["bytes"] == sum(entry["bytes"] for entry in entries.values()) > 0


def test_ls_of_an_empty_store_makes_nothing(featx: Any, home: Path) -> None:
    result = featx("cache", "ls")
    assert result.exit_code == 0
    assert result.stdout == f"0 entries, 0 B in {home}\n"
    assert not home.exists()


def test_ls_fits_80_columns_where_the_line_is_limited(shell: Any, stored: dict[str, str], home: Path) -> None:
    store_features(home, "features.denseblock4.denselayer16.conv2:avg", source="/data/a/long/way/to/photos.zip")
    lines = shell(*PROGRAM, "cache", "ls", env={"COLUMNS": "80"}).stdout.splitlines()[:-1]
    assert max(map(len, lines)) <= 80
    firsts = {line.split()[0] for line in lines}
    assert all(digest[:12] in firsts for digest in stored.values())


def test_ls_in_a_pipe_is_plain_and_whole(shell: Any, home: Path) -> None:
    layer = "features.denseblock4.denselayer16.conv2:avg"
    store_features(home, layer, source="a" * 100)
    out = shell(*PROGRAM, "cache", "ls", env={"FORCE_COLOR": "1"}).stdout
    assert layer in out
    assert "a" * 100 in out
    assert "\x1b" not in out


def test_ls_shows_no_control_characters(featx: Any, home: Path) -> None:
    store_features(home, "layer1", source="evil\x1b[31m\n[red]")
    out = featx("cache", "ls").stdout
    assert "\x1b" not in out
    assert "[red]" in out
    assert len(out.splitlines()) == 3


def test_info_spells_out_key_plan_and_record(featx: Any, featx_json: Any, stored: dict[str, str]) -> None:
    digest = stored["layer3:avg"]
    code, document = featx_json("cache", "info", digest[:8])
    assert code == 0
    assert document["digest"] == digest
    assert document["key"]["layer"] == "layer3:avg"
    assert document["plan"]["shard_rows"] == 4
    assert document["about"]["weights"] == "random:0"
    lines = featx("cache", "info", digest[:8]).stdout.splitlines()
    assert "key.layer: layer3:avg" in lines
    assert "plan.shard_rows: 4" in lines


def test_unknown_key_is_a_usage_error(featx_json: Any, stored: dict[str, str]) -> None:
    code, document = featx_json("cache", "info", "zz")
    assert code == 2
    assert document["kind"] == "OptionError"


def test_path_is_that_of_the_store_or_of_a_key(featx: Any, stored: dict[str, str], home: Path) -> None:
    digest = stored["layer4"]
    assert featx("cache", "path").stdout == f"{home / 'features'}\n"
    path = Path(featx("cache", "path", digest[:8]).stdout.rstrip("\n"))
    assert path.is_dir()
    assert path.name == digest


def test_home_option_wins_over_the_environment(featx: Any, home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert featx("cache", "path", "--home", other).stdout == f"{other / 'features'}\n"
    assert featx("cache", "path", "--home", "").exit_code == 2


def left(home: Path) -> set[str]:
    return {entry.digest for entry in FeatureStore(home).ls()}


def test_rm_removes_the_named_keys_only(featx: Any, stored: dict[str, str], home: Path) -> None:
    result = featx("cache", "rm", stored["layer4"][:8], stored["layer4"], "--yes")
    assert result.exit_code == 0
    assert left(home) == {stored["layer3:avg"]}


def test_rm_all_frees_what_it_says(featx_json: Any, stored: dict[str, str], home: Path) -> None:
    expected = featx_json("cache", "ls")[1]["bytes"]
    code, document = featx_json("cache", "rm", "--all", "--yes")
    assert code == 0
    assert {item["digest"] for item in document["removed"]} == set(stored.values())
    assert document["bytes"] == expected
    assert document["dry_run"] is False
    assert left(home) == set()


def test_dry_run_removes_nothing_and_asks_nothing(featx: Any, stored: dict[str, str], home: Path) -> None:
    result = featx("cache", "rm", "--all", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.count("would remove") == 2
    assert left(home) == set(stored.values())


def test_rm_without_a_terminal_wants_yes(featx: Any, stored: dict[str, str], home: Path) -> None:
    result = featx("cache", "rm", "--all", input="y\n")
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert left(home) == set(stored.values())


@pytest.mark.parametrize(("answer", "code", "gone"), [("y\n", 0, True), ("n\n", 2, False), ("\n", 2, False)])
def test_rm_on_a_terminal_asks(
    featx: Any,
    stored: dict[str, str],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
    gone: bool,
) -> None:
    monkeypatch.setattr("featx.cli.cache_remove.is_asked", lambda: True)
    result = featx("cache", "rm", "--all", input=answer)
    assert result.exit_code == code
    assert "remove 2 entries" in result.stderr
    assert (left(home) == set()) is gone


def test_rm_of_one_unknown_key_removes_none(featx: Any, stored: dict[str, str], home: Path) -> None:
    assert featx("cache", "rm", stored["layer4"][:8], "zz", "--yes").exit_code == 2
    assert left(home) == set(stored.values())


@pytest.mark.parametrize("args", [(), ("--all", "3f2a")])
def test_rm_takes_keys_or_all(featx: Any, stored: dict[str, str], home: Path, args: tuple[str, ...]) -> None:
    assert featx("cache", "rm", *args, "--yes").exit_code == 2
    assert left(home) == set(stored.values())


def test_rm_all_of_an_empty_store_is_fine(featx: Any) -> None:
    result = featx("cache", "rm", "--all")
    assert result.exit_code == 0
    assert result.stdout.startswith("nothing to remove")


def test_damaged_entry_is_listed_and_can_be_removed(featx: Any, stored: dict[str, str], home: Path) -> None:
    digest = stored["layer4"]
    (FeatureStore(home).folder(digest) / "key.json").write_text("{}")
    assert digest[:12] in featx("cache", "ls").stdout
    assert featx("cache", "info", digest[:8]).exit_code == 4
    assert featx("cache", "rm", digest[:8], "--yes").exit_code == 0
    assert left(home) == {stored["layer3:avg"]}
