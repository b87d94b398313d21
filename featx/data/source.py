"""What a source is: images in a fixed order, with ids and perhaps labels; of files, and of several splits as one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from featx.cache.schema import fingerprint
from featx.data.arrays import label_of
from featx.data.decoding import Pixels, decode
from featx.data.depth import content_digest
from featx.data.files import Files
from featx.data.folder_layout import Row
from featx.data.read_ahead import ReadAhead
from featx.data.remarks import Remarks
from featx.errors import OptionError, SourceError, decoded

Labels = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint8]


@runtime_checkable
class Source(Protocol):
    """Images in a fixed order, each with a stable id and perhaps a label.

    Attributes
    ----------
    spec : str
        How the source was written, for the record.
    split : str
        ``train``, ``val``, ``test`` or ``all``.
    ids : sequence of str
        Relative and stable: moving the data does not change them.
    labels : ndarray of int64, shape (n,)
        Positions in `classes`; -1 where a row has no label.
    classes : tuple of str
        Class names.
    channels : int
        3, or 1 where every image is grey.
    """

    spec: str
    split: str
    ids: Sequence[str]
    labels: Labels
    classes: tuple[str, ...]
    channels: int

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> tuple[Pixels, int | None]:
        """Return row i's image, uint8 (H, W, C), and its label; ImageError where it cannot be decoded."""

    def row_hashes(self) -> Hashes:
        """Return the SHA-256 of each row's content.

        Returns
        -------
        ndarray of uint8 of shape (n, 32)
            Rows that cannot be read have a hash of their name and the reason.
        """

    def fingerprint(self) -> str:
        """Return the SHA-256 over the row hashes in order; labels, ids and paths are no part of it.

        Returns
        -------
        str
            In hexadecimal.
        """

    def subset(self, rows: Labels) -> Source:
        """Return a source of these rows, in this order.

        Parameters
        ----------
        rows : ndarray of int64 of shape (m,)
            Row numbers.

        Returns
        -------
        Source
            Of m images.
        """


class FileSource:
    """Encoded images in a folder or archive; `unlabelled` is what would give them labels (see `Layout`)."""

    channels = 3

    def __init__(
        self,
        spec: str,
        split: str,
        files: Files,
        rows: Sequence[Row],
        classes: tuple[str, ...],
        unlabelled: str = "",
    ) -> None:
        self.spec = spec
        self.unlabelled = unlabelled
        self.split = split
        # In a locale of another encoding too, names are those that the record of a run has.
        self.classes = tuple(map(decoded, classes))
        self.ids: Sequence[str] = [decoded(row.id) for row in rows]
        number = {name: i for i, name in enumerate(classes)}
        self.labels: Labels = np.array([-1 if r.label is None else number[r.label] for r in rows], np.int64)
        self._files = files
        self._ahead = ReadAhead(files)
        self._rows = rows
        self._hashes: Hashes | None = None
        self._bits: int | None = None
        self._remarks = Remarks()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> tuple[Pixels, int | None]:
        row = self._rows[i]
        data = self._ahead.read(row.name)
        # The key was made from the hash: bytes that changed since must not be stored under it.
        if content_digest(data) != self.row_hashes()[i].tobytes():
            raise SourceError(
                f"image {row.id} in {self._files.where} changed while featx was reading it", "run it again"
            )
        return decode(data, row.id, self._bits, self._remarks), label_of(self.labels[i])

    def reading_ahead(self, rows: Labels) -> AbstractContextManager[None]:
        """Fetch these rows while what follows goes on, where each read waits for a server."""
        return self._ahead.fetching([self._rows[i].name for i in rows] if self._files.in_flight else [])

    def row_hashes(self) -> Hashes:
        """Return the SHA-256 of each row's content, uint8 (n, 32)."""
        if self._hashes is None:
            self._hashes = self._files.hashes([row.name for row in self._rows])
        return self._hashes

    def fingerprint(self) -> str:
        """Return the SHA-256 over the row hashes in order."""
        return fingerprint(self.row_hashes())

    def subset(self, rows: Labels) -> FileSource:
        """Return a source of these rows, in this order."""
        chosen = [self._rows[i] for i in rows]
        part = FileSource(self.spec, self.split, self._files, chosen, self.classes, self.unlabelled)
        part._hashes = None if self._hashes is None else self._hashes[rows]
        part._bits, part._remarks = self._bits, self._remarks
        return part

    def at_bits(self, bits: int) -> FileSource:
        """Return the same rows, so many bits of their 16-bit images counting."""
        self.row_hashes()  # once for both
        source = copy.copy(self)
        source._bits = bits
        return source


class JoinedSource:
    """Several splits of one source as one, rows in order."""

    def __init__(self, parts: Sequence[Source]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])
        self.spec = parts[0].spec
        self.split = "all"
        self.classes = parts[0].classes
        self.channels = parts[0].channels
        self.ids: Sequence[str] = [name for part in parts for name in part.ids]
        self.labels: Labels = np.concatenate([part.labels for part in parts])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, i: int) -> tuple[Pixels, int | None]:
        part = int(np.searchsorted(self._starts, i, side="right")) - 1
        return self._parts[part][i - int(self._starts[part])]

    @contextmanager
    def reading_ahead(self, rows: Labels) -> Iterator[None]:
        """Fetch these rows while what follows goes on, where each read waits for a server."""
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        with ExitStack() as stack:
            for k in np.unique(owner).tolist():
                stack.enter_context(reading_ahead(self._parts[k], rows[owner == k] - self._starts[k]))
            yield

    def row_hashes(self) -> Hashes:
        """Return the SHA-256 of each row's content, uint8 (n, 32)."""
        return np.concatenate([part.row_hashes() for part in self._parts])

    def fingerprint(self) -> str:
        """Return the SHA-256 over the row hashes in order."""
        return fingerprint(self.row_hashes())

    def subset(self, rows: Labels) -> JoinedSource:
        """Return a source of these rows; OptionError unless they rise from split to split."""
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        if (np.diff(owner) < 0).any():
            raise OptionError("rows of a joined source must be in ascending order across splits", "sort them")
        return JoinedSource([p.subset(rows[owner == k] - self._starts[k]) for k, p in enumerate(self._parts)])

    def at_bits(self, bits: int) -> JoinedSource:
        """Return the same rows, so many bits of their 16-bit images counting."""
        source = copy.copy(self)
        source._parts = [at_bits(part, bits) for part in self._parts]
        return source


def reading_ahead(source: Source, rows: Labels) -> AbstractContextManager[None]:
    """Fetch these rows of a source while what follows goes on; nothing where reading them costs no waiting."""
    how: Callable[[Labels], AbstractContextManager[None]] | None = getattr(source, "reading_ahead", None)
    return nullcontext() if how is None else how(rows)


def at_bits(source: Source, bits: int | None) -> Source:
    """Return a source whose 16-bit images are read as images of so many bits; None as they say themselves.

    Raises
    ------
    OptionError
        The source holds arrays, which have 8 bits.
    """
    if bits is None or getattr(source, "bits", None) == bits:
        return source
    how: Callable[[int], Source] | None = getattr(source, "at_bits", None)
    if how is None:
        raise OptionError(
            f"bits={bits} is for image files, and {source.spec} contains 8-bit arrays", "leave it out (--bits)"
        )
    return how(bits)
