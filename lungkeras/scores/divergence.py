"""Whether a training diverged: its loss is NaN, or far higher than that of a constant answer."""

import numpy as np
import pandas as pd

TIMES_CHANCE = 10.0


def diverged_at(history: pd.DataFrame, chance: float) -> int | None:
    """The epoch in which a training diverged for good; None if it did not.

    `history` has the columns epoch, loss and val_loss; `chance` is the loss, in nats, of the same answer to every scan.
    For good means: by its training loss through the last epoch, or no epoch has a validation loss within bounds.
    """
    lost, in_vain = (_astray(history[name], chance) for name in ("loss", "val_loss"))
    lost |= in_vain.all()
    kept = np.flatnonzero(~lost)
    first = kept[-1] + 1 if len(kept) else 0
    return int(history["epoch"].iloc[first]) if first < len(history) else None


def best_epoch(history: pd.DataFrame) -> int | None:
    """The epoch of the lowest validation loss; None where none is a number."""
    losses = history["val_loss"].where(np.isfinite(history["val_loss"]))
    return int(history["epoch"].loc[losses.idxmin()]) if losses.notna().any() else None


def _astray(losses: pd.Series, chance: float) -> np.ndarray:
    return ~(losses.to_numpy(float) <= TIMES_CHANCE * chance)
