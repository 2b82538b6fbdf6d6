"""Names that a folder lends of its modules, loaded when first asked for: a command answers before Keras is there."""

import importlib
from collections.abc import Callable, Iterable, Mapping


def lend(package: str, homes: Mapping[str, Iterable[str]]) -> tuple[Callable, Callable, list[str]]:
    """(__getattr__, __dir__, __all__) of a package, of {module: names}; ".study.runs" is one beside the package."""
    home = {name: module for module, names in homes.items() for name in names}

    def find(name: str):
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; its names: {', '.join(sorted(home))}")
        return getattr(importlib.import_module(f".{home[name]}", package), name)

    return find, lambda: sorted(home), list(home)
