"""Why a model gives its answers: heat maps, features, and tests of both.

It reads models, evaluation and prepared data. Prediction draws its heat maps with it; notebook 04 and the report show
it.
"""

from lungkeras.system.lazy import lend

__getattr__, __dir__, __all__ = lend(
    __name__,
    {
        "embedding": ("embed", "features"),
        "gradcam": ("grad_cam", "grad_cam_plus_plus", "heat_maps", "layer_cam", "overlay"),
    },
)
