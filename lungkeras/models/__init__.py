"""Networks: uint8 grey scans in, logits out. Backbones, heads, fast layers, saving and loading.

It reads system; architectures names the backbones without Keras, for params and figures. Training fits its models;
evaluation, explanation and prediction use them.
"""

from lungkeras.system.lazy import lend

__getattr__, __dir__, __all__ = lend(
    __name__,
    {
        "build": ("build_model",),
        "files": (
            "load_model",
            "save_model",
        ),
    },
)
