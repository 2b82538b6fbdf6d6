"""One run: batches of a prepared dataset, a model fitted to them, its history, best weights and predictions.

It reads preparation, augmentation, models, scores and the params of study.
Evaluation reads the folder that it leaves; notebook 02 and `lungkeras train` call it.
"""

from lungkeras.system.lazy import lend

__getattr__, __dir__, __all__ = lend(
    __name__,
    {
        "one_run": (
            "compiled",
            "initial_model",
            "train",
        ),
        "learning_rates": ("range_test",),
    },
)
