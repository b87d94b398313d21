"""Where WebDataset's shards lie: at the names that braces or a text file give, on this machine or at URLs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from featx.core.paths import expanded
from featx.core.urls import below, is_url, safe_url, url_folder
from featx.data.blob import Blob, LocalBlob
from featx.data.csv_list import Below
from featx.data.listed_files import Base, place_of
from featx.data.remote.blob import RemoteBlob
from featx.data.remote.reading import remote
from featx.data.remote.url_files import UrlBase, whole_object
from featx.data.shard_names import expand_braces, shard_lines
from featx.errors import SourceError, first_few


def blob_at(place: str) -> Blob:
    """Return the file at a path or URL."""
    return RemoteBlob(place) if is_url(place) else LocalBlob(expanded(place))


def braced_shards(spec: str) -> list[Blob]:
    """Return the shards that a name with braces stands for; SourceError where one is missing."""
    return _blobs(spec, expand_braces(spec))


def listed_shards(spec: str) -> list[Blob]:
    """Return the shards that a text file lists.

    Raises
    ------
    SourceError
        It cannot be read, a line leads out of its folder or is no ``.tar``, or a shard is missing.
    """
    where, text = safe_url(spec), _text(spec)
    base: Base = UrlBase(spec) if is_url(spec) else Below(expanded(spec).parent)
    places = []
    for number, line in shard_lines(text, where):
        try:
            name, _ = place_of(line, base)
        except ValueError as exc:
            raise SourceError(f"{where}, line {number}: {exc}", "write paths below the list's folder, or URLs") from exc
        places.append(name if is_url(name) else _beside(spec, name))
    if not places:
        raise SourceError(f"{where} lists no shards", "write the path or URL of a .tar in each line")
    return _blobs(spec, places)


def _text(spec: str) -> str:
    try:
        data = whole_object(spec) if is_url(spec) else Path(expanded(spec)).read_bytes()
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise SourceError(f"{safe_url(spec)} cannot be read as UTF-8 text: {exc}", "save it again") from exc


def _beside(spec: str, name: str) -> str:
    return below(url_folder(spec), name) if is_url(spec) else str(expanded(spec).parent / name)


def _blobs(spec: str, places: Sequence[str]) -> list[Blob]:
    if any(map(is_url, places)):
        return list(remote().map(blob_at, places))
    lost = [place for place in places if not os.path.isfile(expanded(place))]
    if lost:
        what = f"{len(lost)} of the {len(places)} shards of {spec} are missing: {first_few(lost)}"
        raise SourceError(what, "check their names")
    return [blob_at(place) for place in places]
