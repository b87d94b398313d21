"""What identifies stored features: everything their values depend on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from featx.core.hashing import digest_of

SCHEMA = 1
"""Version of the key and of the files that the store writes."""


@dataclass(frozen=True)
class FeatureKey:
    """Everything that a stored feature's value depends on; its digest names the folder.

    Paths, ids, labels and splits are recorded separately and change no value. Batch size, device and threads are not
    part of it either, though they affect the last bits: see `ExtractConfig`.

    Parameters
    ----------
    rows : str
        SHA-256 over the row hashes in order (`Source.fingerprint`).
    n_rows : int
        Number of rows.
    backbone : str
        The network's name.
    weights : str
        SHA-256 over the weight tensors.
    layer : str
        ``str(LayerSpec)``.
    preprocess : dict
        `PreprocessSpec.as_dict`.
    precision : str
        Precision of the arithmetic.
    dtype : str
        Type of the stored values.
    options : dict
        Options of the network's builder.
    code : str or None
        SHA-256 of a user's own network code.
    schema : int
        Version of the key, `SCHEMA`.
    """

    rows: str
    n_rows: int
    backbone: str
    weights: str
    layer: str
    preprocess: dict[str, Any]
    precision: str = "fp32"
    dtype: str = "float32"
    options: dict[str, Any] = field(default_factory=dict)
    code: str | None = None
    schema: int = SCHEMA

    def as_dict(self) -> dict[str, Any]:
        """Return the key as JSON-able values.

        Returns
        -------
        dict
            The fields by their names.
        """
        return asdict(self)

    @property
    def digest(self) -> str:
        """SHA-256 of the key, in hexadecimal."""
        return digest_of(self.as_dict())
