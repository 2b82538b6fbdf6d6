"""Finished runs in, tables out: scores, comparisons, calibration, errors, groups, other collections.

paper/ holds what the published study reports and claims. It reads study.runs, models, scores and training.pipeline.
Explanation, prediction, the report and notebook 03 read it.
"""

from lungkeras.system.lazy import lend

__getattr__, __dir__, __all__ = lend(
    __name__,
    {
        "elsewhere": ("evaluate_on",),
        "run_tables": (
            "histories",
            "linear_probabilities",
            "results",
        ),
        ".study.runs": (
            "ablation_runs",
            "main_runs",
            "read_run",
            "read_runs",
            "split_of",
        ),
    },
)
