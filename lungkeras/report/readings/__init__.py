"""Sentences under the tables and figures of the notebooks: tables in, sentences out.

Every number of a sentence comes from the table given, so the sentences are true of any study. The first sentence is the
answer; `learned` lists the answers of a notebook. It reads tables alone; the notebooks and the first page call it.
"""

from lungkeras.report.readings.claims import of_claim, of_claims
from lungkeras.report.readings.data import (
    of_counts,
    of_labels,
    of_leakage,
    of_preparation,
    of_selection,
    of_separation,
    of_shortcuts,
)
from lungkeras.report.readings.explanations import (
    of_agreement,
    of_features,
    of_logits,
    of_map,
    of_maps,
    of_pointing,
    of_randomisation,
    of_weights,
)
from lungkeras.report.readings.training import of_confusion, of_errors, of_history, of_run
from lungkeras.report.readings.words import learned

__all__ = [
    "learned", "of_agreement", "of_claim", "of_claims", "of_confusion", "of_counts", "of_errors", "of_features",
    "of_history", "of_labels", "of_leakage", "of_logits", "of_map", "of_maps", "of_pointing", "of_preparation",
    "of_randomisation", "of_run", "of_selection", "of_separation", "of_shortcuts", "of_weights",
]  # fmt: skip
