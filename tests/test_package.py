"""The package as a whole: its public names, its map, and who imports whom."""

import ast
import re
from pathlib import Path

import pytest

import lungkeras

FOLDER = Path(lungkeras.__file__).parent
SOURCES = {path.relative_to(FOLDER).as_posix(): path for path in sorted(FOLDER.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    return imports_of(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports_of(nodes) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("name", sorted(lungkeras.__all__))
def test_every_public_name_is_there_and_documented(name):
    assert getattr(lungkeras, name).__doc__ or name.isupper()


def test_every_module_says_what_it_is():
    assert not [name for name, path in SOURCES.items() if not ast.get_docstring(ast.parse(path.read_text()))]


def test_tensorflow_is_imported_by_name_in_few_modules_and_only_when_it_is_the_backend():
    users = {name for name, path in SOURCES.items() if any(i.split(".")[0] == "tensorflow" for i in imports(path))}
    known = {"pipeline.py", "evaluation.py", "layers.py", "optimizers.py", "explanation.py", "devices.py", "export.py"}
    assert users == known | {"exported_files.py", "depthwise.py"}
    early = {"tensorflow", "torch", "jax", "tf_keras_vis"}
    for name, path in SOURCES.items():
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not early & imports_of(top), f"{name} imports a backend before it is known to be the one in use"


def test_no_module_imports_a_notebook_the_orchestrator_or_papermill():
    foreign = {"snakemake", "papermill", "notebooks"}
    assert not {name for name, path in SOURCES.items() if {i.split(".")[0] for i in imports(path)} & foreign}


def test_the_map_names_modules_that_exist():
    named = set(re.findall(r"^    ([a-z]+)(?:, ([a-z]+))?  ", lungkeras.__doc__, flags=re.M))
    modules = {name for pair in named for name in pair if name}
    there = {name.removesuffix(".py").removesuffix("/__init__") for name in SOURCES}
    assert modules
    assert modules <= there


def test_an_unknown_name_is_answered_with_those_that_are_there():
    with pytest.raises(AttributeError, match="read_records"):
        lungkeras.read_record  # noqa: B018


def test_declared_dependencies_are_those_imported():
    import sys
    import tomllib
    from importlib.metadata import packages_distributions

    pyproject = FOLDER.parent / "pyproject.toml"
    if not pyproject.is_file():
        pytest.skip("no pyproject.toml beside the package: it runs from an installed copy")
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    declared = {re.match(r"[\w.-]+", text)[0].lower().replace("_", "-") for text in texts}
    known = packages_distributions()
    names = {name.split(".")[0] for path in SOURCES.values() for name in imports(path)}
    foreign = {name for name in names - set(sys.stdlib_module_names) - {"lungkeras"} if name in known}
    undeclared = {
        name
        for name in foreign
        if not {distribution.lower().replace("_", "-") for distribution in known[name]} & declared
    }
    assert not undeclared
