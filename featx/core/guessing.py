"""Whether a model's probabilities are worth more than guessing each class by its share of the training rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from featx.core.metrics import LARGEST_LOSS, Scores

ROUNDING = 1e-6
"""Losses that differ by less, relative to each other, are the same."""


def guessing_losses(scores: Mapping[str, Scores], *, balanced: bool = False) -> dict[str, float]:
    """Return the mean log loss of each part, in nats, of always giving the classes their shares of the training rows.

    Parameters
    ----------
    scores : mapping of str to Scores
        Of ``train`` and other parts.
    balanced : bool
        Whether rare classes weighed more: guessing then gives the classes that have rows equal shares.
    """
    counts = {part: one.confusion.sum(axis=1).astype(float) for part, one in scores.items()}
    taught = (counts["train"] > 0).astype(float) if balanced else counts["train"]
    shares = taught / taught.sum()
    losses = np.full(len(shares), LARGEST_LOSS)
    np.log(shares, out=losses, where=shares > 0)
    return {part: float(count @ np.abs(losses) / count.sum()) for part, count in counts.items()}


def worse_than_guessing(scores: Mapping[str, Scores], *, balanced: bool = False, lr: float | None = None) -> str:
    """Say which parts' losses are above those of guessing, and what to do; an empty string where none is.

    Parameters
    ----------
    scores, balanced
        As `guessing_losses`.
    lr : float, optional
        The learning rate, where there was one.
    """
    guessed = guessing_losses(scores, balanced=balanced)
    worse = [part for part, one in scores.items() if one.loss > (1 + ROUNDING) * guessed[part]]
    if not worse:
        return ""
    said = ", ".join(f"{part} loss {_short(scores[part].loss)} ({_short(guessed[part])})" for part in worse)
    found = f"worse than guessing by class frequency: {said}, guessing in brackets"
    return f"{found}; {_why(worse, scores, lr)}"


def _why(worse: list[str], scores: Mapping[str, Scores], lr: float | None) -> str:
    if "train" not in worse:
        return "what was learnt from the training rows does not generalise"
    hint = "" if lr is None else f": try another --lr than {lr:g}"
    chance = np.max(scores["train"].confusion.sum(axis=1)) / scores["train"].confusion.sum()
    if scores["train"].accuracy > chance:
        other = hint or ": softmax regression without --sweep standardises the features"
        return f"the classes are told apart, but training did not converge{other}"
    return f"nothing was learnt{hint}"


def _short(loss: float) -> str:
    return f"{loss:.4f}" if loss < 1e4 else f"{loss:.3g}"
