"""Whether a training went astray: its loss is NaN, or far higher than that of one answer for every scan."""

import numpy as np
import pandas as pd

TIMES_CHANCE = 10.0


def diverged_at(history: pd.DataFrame, chance: float) -> int | None:
    """The epoch in which a training went astray for good; None where it did not.

    `history` has the columns epoch, loss and val_loss; `chance` is the loss, in nats, of the same answer to every scan.
    For good means: to the last epoch by its training loss, or that no epoch has a validation loss in bounds.
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
