"""Uses a trained model: probabilities for any scan, and files for other runtimes.

It reads models, evaluation and explanation. `lungkeras predict` and `lungkeras export` call it; the report shows it.
"""

from lungkeras.system.lazy import lend

__getattr__, __dir__, __all__ = lend(
    __name__,
    {
        "images": ("find_images",),
        "predict": (
            "load_predictor",
            "predict_images",
            "write_heatmaps",
        ),
        "one_scan": ("predict_scan",),
        "export": ("export_run",),
    },
)
