"""What opens a source finds its images, and says of the rest what it is."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featx.data.listing import LeftOut
from featx.data.registry import BUILT_IN, BY_SUFFIX
from featx.data.sources import is_list, load_source
from featx.errors import SourceError


def test_endings_are_found_whatever_their_case_and_no_name_looks_like_one() -> None:
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in BY_SUFFIX)
    assert not any(name.endswith(tuple(BY_SUFFIX)) for name in BUILT_IN)


def test_lists_are_told_by_their_ending_in_any_case() -> None:
    assert [name for name in ("a.csv", "A.TSV", "a.zip", "a", "digits") if is_list(name)] == ["a.csv", "A.TSV"]


def test_an_empty_folder_and_an_empty_archive_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    for spec in ("empty", "empty.zip"):
        with pytest.raises(SourceError, match="holds no images"):
            load_source(tmp_path / spec)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_what_is_left_out_is_told_where_the_source_was_opened(
    pets: Path, pack: Callable[[Path], Path], kind: str
) -> None:
    (pets / "cat/notes.docx").write_bytes(b"of the cats")
    spec: Any = pets if kind == "folder" else pack(pets)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_source(spec)
    (told,) = [warning for warning in caught if issubclass(warning.category, LeftOut)]
    assert told.filename == __file__
