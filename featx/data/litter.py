"""Files and folders that programs leave behind, and that nobody means when naming a folder of images."""

from __future__ import annotations

_DESKTOP = (
    "__MACOSX .DS_Store .AppleDB .AppleDesktop .AppleDouble .DocumentRevisions-V100 .Spotlight-V100 .TemporaryItems "
    ".Trashes .fseventsd $RECYCLE.BIN lost+found .Trash .thumbnails .thumbs .cache Thumbs.db ehthumbs.db desktop.ini"
)
_STORAGE = "@eaDir #recycle #snapshot .snapshot .snapshots .zfs .dropbox.cache .stfolder .stversions"
_WORK = (
    ".git .gitattributes .gitignore .gitkeep .hg .svn .dvc .ipynb_checkpoints .idea .vscode .venv .tox .nox "
    ".mypy_cache .pytest_cache .ruff_cache"
)

LITTER = frozenset(f"{_DESKTOP} {_STORAGE} {_WORK}".split())
"""Names, at any depth."""

BEGINNINGS = ("._", ".Trash-", ".trashed-", ".pending-", ".tmp-", ".unpacking-")
"""How such names begin: macOS's resource forks, the waste bins of desktops and telephones, unfinished files."""


def is_litter(name: str) -> bool:
    """Tell whether a single name is litter. Others with a leading dot are not: ``.NET`` may well be a class."""
    return name in LITTER or name.startswith(BEGINNINGS)
