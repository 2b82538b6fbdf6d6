"""Why a model answers so: heat maps, features, and both put to the test.

It reads models, evaluation and prepared data. Prediction draws its heat maps by it, notebook 04 and the report show it.
"""

from lungkeras.system.lazy import lend

__getattr__, __dir__, __all__ = lend(
    __name__,
    {
        "gradcam": (
            "embed",
            "features",
            "grad_cam",
            "grad_cam_plus_plus",
            "heat_maps",
            "layer_cam",
            "overlay",
        ),
    },
)
