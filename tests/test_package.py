"""The package as a whole: its public names, its map, and who imports whom."""

import ast
import re
import textwrap
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
def test_every_public_name_exists_and_is_documented(name):
    assert getattr(lungkeras, name).__doc__ or name.isupper()


def test_every_module_has_a_docstring():
    assert not [name for name, path in SOURCES.items() if not ast.get_docstring(ast.parse(path.read_text()))]


def test_tensorflow_is_imported_by_name_in_few_modules_and_only_when_it_is_the_backend():
    users = {name for name, path in SOURCES.items() if any(i.split(".")[0] == "tensorflow" for i in imports(path))}
    known = {"training/pipeline.py", "training/optimizers.py", "models/layers.py", "models/depthwise.py"}
    known |= {"system/devices.py", "system/untrusted/saved_models.py", "explanation/gradients.py"}
    known |= {"prediction/converters.py", "training/outputs.py"}
    assert users == known
    early = {"tensorflow", "torch", "jax", "tf_keras_vis"}
    for name, path in SOURCES.items():
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not early & imports_of(top), f"{name} imports a backend before it is known to be the one in use"


def test_no_module_imports_a_notebook_the_orchestrator_or_papermill():
    foreign = {"snakemake", "papermill", "notebooks"}
    assert not {name for name, path in SOURCES.items() if {i.split(".")[0] for i in imports(path)} & foreign}


def the_map() -> str:
    """The part of the package's docstring that names its folders and modules."""
    return re.search(r"\n\n((?:    .+\n)+)", lungkeras.__doc__)[1]


def test_the_map_names_every_folder_and_module_at_the_top_in_the_order_in_which_they_read_each_other():
    named, parent = [], ""
    for indent, names in re.findall(r"^    ( *)([a-z]+(?:, [a-z]+)*)  ", the_map(), flags=re.M):
        named += [f"{parent}.{name}" if indent else name for name in names.split(", ")]
        parent = parent if indent else names
    folders = {name.removesuffix("/__init__.py").replace("/", ".") for name in SOURCES if name.endswith("/__init__.py")}
    modules = {name.removesuffix(".py") for name in SOURCES if "/" not in name and not name.startswith("__")}
    assert set(named) == folders | modules
    layers = [layer.removeprefix("lungkeras.") for layer in contract("layers")["layers"]]
    assert [name for name in named if "." not in name] == layers[::-1]
    assert len(the_map().splitlines()) < 25
    assert len({name.partition("/")[0] for name in SOURCES if not name.startswith("__")}) <= 15


def contract(kind: str) -> dict:
    """The contract of a kind that pyproject.toml holds for import-linter."""
    import tomllib

    pyproject = FOLDER.parent / "pyproject.toml"
    if not pyproject.is_file():
        pytest.skip("no pyproject.toml beside the package: it runs from an installed copy")
    contracts = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    return next(contract for contract in contracts if contract["type"] == kind)


def test_the_map_of_the_readme_is_the_same():
    readme = FOLDER.parent / "README.md"
    if not readme.is_file():
        pytest.skip("no README.md beside the package: it runs from an installed copy")
    assert textwrap.indent(the_map(), "    ") in readme.read_text(encoding="utf-8")


def test_every_folder_says_what_is_in_it_what_it_reads_and_what_reads_it():
    for name, path in SOURCES.items():
        if name.endswith("/__init__.py"):
            said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).partition("\n\n    >>>")[0]
            assert 2 <= len([line for line in said.splitlines() if line]) <= 4, name
            assert " reads " in said, name


def test_an_unknown_name_gets_the_existing_ones_as_a_suggestion():
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
