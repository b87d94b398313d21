"""Sources at URLs: a file by the ending of its name, shards by braces, else what lies below a prefix."""

from __future__ import annotations

from featx.cache.memo import Memo
from featx.core.urls import WEB, safe_url, scheme_of, url_suffix
from featx.data.registry import BY_SUFFIX, LOCAL_ONLY, Splits, files_in, open_braces, open_inside, splits_of, understood
from featx.data.remote.blob import RemoteBlob
from featx.data.remote.reading import check_scheme
from featx.data.remote.url_files import UrlFiles
from featx.data.shard_names import has_braces
from featx.errors import OptionError


def open_url(spec: str, memo: Memo | None) -> Splits:
    """Open the source at a URL.

    Parameters
    ----------
    spec : str
        ``s3://``, ``gs://``, ``http://`` or ``https://``.
    memo : Memo, optional
        Remembers content hashes, under the objects' sizes and ETags.

    Raises
    ------
    OptionError
        For another scheme, for a kind of file that is not read at a URL, and for a folder of a web server.
    SourceError
        It cannot be read; the message shows no secret of the URL.
    """
    check_scheme(spec)
    suffix = url_suffix(spec)
    if suffix == ".tar" and has_braces(spec):
        return open_braces(spec, memo)
    if suffix in BY_SUFFIX and suffix not in LOCAL_ONLY:
        return BY_SUFFIX[suffix](spec, memo)
    kinds = ", ".join(kind for kind in BY_SUFFIX if kind not in LOCAL_ONLY)
    if suffix in LOCAL_ONLY:
        raise OptionError(f"source {safe_url(spec)} is a {suffix} at a URL, expected {kinds}", "download it first")
    if scheme_of(spec) in WEB:
        raise OptionError(
            f"source {safe_url(spec)} is none of {kinds}, and a web server lists no folders",
            "name an archive, WebDataset's shards, a list or a Parquet manifest",
        )
    return _open_prefix(spec, memo)


def _open_prefix(spec: str, memo: Memo | None) -> Splits:
    """Open what lies below a prefix, as `featx.data.registry.open_folder` opens a folder."""
    files = UrlFiles.below(spec, memo)
    names = files.names()
    if inside := files_in(names):
        return open_inside(spec, [RemoteBlob(files.url(name), files.info(name)) for name in inside], memo)
    return splits_of(spec, files, understood(safe_url(spec), files, names, ()))
