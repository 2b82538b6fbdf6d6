"""Display of objects in IPython, and thus in Jupyter, VS Code and Colab."""

import importlib
import sys
from collections.abc import Iterable


def shown_by(home: str, types: Iterable[str]) -> None:
    """If IPython runs, it shows objects of `types`, each "module:class", by `home`, "module:function".

    The function takes the object and returns HTML. Neither module is loaded before an object is shown, so the
    function may be in a folder that imports that of the object.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if hasattr(ipython, "get_ipython") else None
    if shell is None:
        return
    module, function = home.split(":")

    def html(thing: object) -> str:
        return getattr(importlib.import_module(module), function)(thing)

    for each in types:
        shell.display_formatter.formatters["text/html"].for_type_by_name(*each.split(":"), html)
