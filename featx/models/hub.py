"""Weights from the Hugging Face hub: found in its cache, downloaded where there is a network, never guessed."""

from __future__ import annotations

import re
from pathlib import Path

from featx.core.http import reach
from featx.errors import WeightsError
from featx.models.state_dict import file_hash

FILES = ("model.safetensors", "pytorch_model.bin")
"""A repository's weights, the first that it has; the second is read without running what a pickle asks for."""


def fetch_from_hub(repository: str, filename: str | None = None) -> Path:
    """Return a repository's file of weights in the hub's cache, downloaded where it is absent.

    Parameters
    ----------
    repository : str
        ``organisation/name``, or ``organisation/name@revision``.
    filename : str, optional
        Else the first of `FILES`.

    Raises
    ------
    WeightsError
        Where it cannot be downloaded, or its bytes are not those of the digest that the cache keeps it under.
    """
    import huggingface_hub  # comes with timm

    identity, _, revision = repository.partition("@")
    wanted = (filename,) if filename else FILES
    for name in wanted:
        found = huggingface_hub.try_to_load_from_cache(identity, name, revision=revision or None)
        if isinstance(found, str):
            return _checked(Path(found))
    return _checked(_download(identity, revision or "main", wanted))


def _download(identity: str, revision: str, names: tuple[str, ...]) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    url = huggingface_hub.hf_hub_url(identity, names[0], revision=revision)
    try:
        # The hub's client tries for half a minute where there is no network; this tells at once.
        reach(url)
        for name in names[:-1]:
            try:
                return Path(huggingface_hub.hf_hub_download(identity, name, revision=revision))
            except LocalEntryNotFoundError:
                raise
            except EntryNotFoundError:  # this repository has the next one
                continue
        return Path(huggingface_hub.hf_hub_download(identity, names[-1], revision=revision))
    # Every layer below has exceptions of its own: sockets, HTTP, the hub.
    except Exception as exc:
        folder = Path(huggingface_hub.constants.HF_HUB_CACHE)
        place = folder / huggingface_hub.file_download.repo_folder_name(repo_id=identity, repo_type="model")
        raise WeightsError(
            f"weights {names[0]} of {identity} on huggingface.co are not in {folder} and could not be downloaded: "
            f"{' '.join(str(exc).split())[:120]}",
            f"put {url} at {place / 'snapshots' / revision / names[0]}, or use --weights FILE or random:0",
        ) from exc


def _checked(path: Path) -> Path:
    """Compare a file with its SHA-256, where the cache keeps it under that name."""
    name = path.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", name) and (actual := file_hash(path)) != name:
        raise WeightsError(
            f"{path} is damaged: its SHA-256 is {actual}, expected {name}", "delete it and run the command again"
        )
    return path
