"""The content of a folder: names loaded on first use, and an entry of each of its modules."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType


def lend(package: str, homes: Mapping[str, Iterable[str]]) -> tuple[Callable, Callable, list[str]]:
    """(__getattr__, __dir__, __all__) of a package, of {module: names}; ".study.runs" is a sibling of the package."""
    home = {name: module for module, names in homes.items() for name in names}

    def find(name: str):
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; its names: {', '.join(sorted(home))}")
        return getattr(importlib.import_module(f".{home[name]}", package), name)

    return find, lambda: sorted(home), list(home)


def modules(folder: ModuleType) -> list[str]:
    """The names of a folder's modules, in their order, none of them loaded."""
    return [module.name for module in pkgutil.iter_modules(folder.__path__)]


def entries(folder: ModuleType, name: str) -> dict[str, object]:
    """{module: what it calls `name`} of every module of a folder, in the order of their names."""
    return {module: getattr(importlib.import_module(f"{folder.__name__}.{module}"), name) for module in modules(folder)}
