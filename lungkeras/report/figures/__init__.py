"""One function per figure: data in, matplotlib Figure out, made without pyplot.

It reads tables, runs and maps from other modules. The notebooks draw with it, and the report shows the saved figures.
"""

from lungkeras.system.lazy import lend

__getattr__, __dir__, __all__ = lend(
    __name__,
    {
        "paper": (
            "ablation_bars",
            "ablation_curves",
            "embeddings_and_confusions",
            "grad_cams",
            "learning_curves",
            "preprocessing_effect",
            "sample_scans",
            "strip",
            "transfer_curves",
        ),
        "failures": ("write_galleries",),
        "reliability": ("reliability_diagrams",),
        "errors": ("write_error_sheets",),
        "learning_rates": ("range_test",),
    },
)
