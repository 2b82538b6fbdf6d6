"""A study's tables, figures and runs -> one HTML file, with a card for each model.

It reads all results of a study, and computes only what is shown. figures/ draws. Notebook 05 calls it.
"""

from lungkeras.system.lazy import lend

__getattr__, __dir__, __all__ = lend(
    __name__,
    {
        "facts": ("dataset_facts",),
        "page": ("write_report",),
        "shown": ("show",),
        "exploring": ("explore",),
    },
)
