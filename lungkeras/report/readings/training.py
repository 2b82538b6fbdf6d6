"""Sentences under the tables and figures of notebook 02: one run's training, scores and errors."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lungkeras.datasets.registry import title
from lungkeras.report.readings.words import counted, paragraph
from lungkeras.scores.divergence import best_epoch
from lungkeras.study.words import decimal, listed


def of_history(history: pd.DataFrame) -> str:
    """When the validation loss was lowest, and whether it still fell; `history` has epoch, loss and val_loss."""
    best, last = best_epoch(history), int(history["epoch"].max())
    if best is None:
        return paragraph("No epoch has a finite validation loss: the run diverged.")
    at = history.set_index("epoch").loc[best]
    first = history.iloc[0]
    answer = (
        f"The validation loss was lowest in epoch {best} of {last}: {decimal(at['val_loss'], 3)}, from "
        f"{decimal(first['val_loss'], 3)} after the first."
    )
    if best == last:
        return paragraph(answer, "It still fell at the end, so more epochs may lower it further.")
    end = history.iloc[-1]
    gap = f"At the end it was {decimal(end['val_loss'], 3)}, with {decimal(end['loss'], 3)} in training."
    return paragraph(answer, gap)


def of_run(scores: Mapping) -> str:
    """Which class is recognised best and which worst; of a run's metrics of one split."""
    classes = pd.DataFrame(scores["per_class"]).T
    f1 = pd.to_numeric(classes["f1"]).dropna()
    if f1.empty:
        return paragraph("No class of this split can be scored.")
    best, worst = f1.idxmax(), f1.idxmin()
    return paragraph(
        f"Macro F1 is {decimal(scores['macro_f1'], 3)}: {title(best)} is recognised best (F1 {decimal(f1[best], 3)}), "
        f"{title(worst)} worst ({decimal(f1[worst], 3)} on {counted(classes.loc[worst, 'support'], 'scan')})."
    )


def of_confusion(counts: pd.DataFrame) -> str:
    """How many scans are misclassified, and the most frequent error; from `metrics.confusion`."""
    wrong = counts.to_numpy() * (1 - np.eye(len(counts), dtype=int))
    total, errors = int(counts.to_numpy().sum()), int(wrong.sum())
    if not errors:
        return paragraph(f"None of {counted(total, 'scan')} is misclassified.")
    true, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
    return paragraph(
        f"{errors:,} of {counted(total, 'scan')} {'are' if errors > 1 else 'is'} misclassified ({errors / total:.1%}).",
        f"The most frequent error: {counted(wrong.max(), 'scan')} of {title(counts.index[true])} predicted as "
        f"{title(counts.columns[predicted])}.",
    )


def of_errors(errors: pd.DataFrame) -> str:
    """The most confident error of a model; from `failures.confident_errors`."""
    if errors.empty:
        return paragraph("No error is known.")
    row = errors.sort_values("confidence", ascending=False).iloc[0]
    true, predicted = (_classes(row[key]) for key in ("true", "predicted"))
    return paragraph(
        f"The most confident error has a confidence of {row['confidence']:.1%}: {row['scan']} shows {true}, and the "
        f"model predicts {predicted}."
    )


def _classes(names: str | float) -> str:
    return "no class" if pd.isna(names) or not names else listed([title(name) for name in str(names).split("|")])
