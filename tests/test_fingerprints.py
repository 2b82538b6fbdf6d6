"""Identity by hash: what counts as the same data and the same code, and what does not."""

import ast
import os
import shutil
import textwrap

import numpy as np
import pytest

from lungkeras import fingerprints
from lungkeras.datasets import DATASETS
from lungkeras.fingerprints import PACKAGE, PREPARATION, TRAINING, is_prepared, of_prepared, syntax
from lungkeras.preparation import prepare_dataset

# Modules that training or preparation import and that move no number.
HARMLESS = {"backends", "complexity", "decoder", "errors", "files", "fingerprints", "inert", "locks", "model_files"}
HARMLESS |= {
    "machine",
    "params",
    "places",
    "processes",
    "progress",
    "safe_archives",
    "safe_arrays",
    "safe_json",
    "safe_tables",
}
HARMLESS |= {"datasets/phantom"}  # of which preparation knows the name of a file

CODE = '''
"""A module."""
import warnings
import numpy as np
from lungkeras.errors import RunError

def scale(x: float, by=[]) -> float:
    """Doubles."""
    advice = f"give {by}"
    said = "received " + str(x)
    if x < 0:
        raise RunError(f"x: expected a positive number; {said}. {advice}") from None
    print("doubling", x, flush=True)
    warnings.warn("slow", stacklevel=2)
    column = f"label_{x}"
    for row in progress(by[column], description="doubling"):
        assert row > 1, "too small"
    refused = ScanError("no scan")
    return x * 2, refused  # twice
'''
WORDS = [
    ('"""A module."""', '"""Another."""'),
    ("import warnings\n", "import warnings\nimport os\n"),
    ("from lungkeras.errors", "from lungkeras.other_errors"),
    ("x: float", "x: int"),
    ("Doubles", "Two times"),
    ("give {by}", "give {by} and more"),
    ('    advice = f"give {by}"\n', ""),
    ("received ", "got "),
    ("x: expected", "x: wants"),
    (" from None", ""),
    ('print("doubling", x', 'print("twice"'),
    ('    print("doubling", x, flush=True)\n', ""),
    ("slow", "very slow"),
    ('description="doubling"', 'description="working"'),
    ("too small", "small"),
    ("no scan", "no image"),
    ("# twice", "# two times"),
]
NUMBERS = [
    ("x * 2", "x * 3"),
    ("x * 2", "x / 2"),
    ("x < 0", "x <= 0"),
    ("row > 1", "row > 2"),
    ("RunError(f", "ScanError(f"),
    ("label_{x}", "probability_{x}"),
    ("by=[]", "by=[1]"),
]


def parsed(code: str) -> str:
    return syntax(ast.parse(textwrap.dedent(code)))


@pytest.mark.parametrize(("old", "new"), WORDS)
def test_what_only_a_reader_sees_is_no_change_of_code(old, new):
    assert CODE.count(old) >= 1
    assert parsed(CODE.replace(old, new)) == parsed(CODE)


@pytest.mark.parametrize(("old", "new"), NUMBERS)
def test_what_decides_a_number_is_a_change_of_code(old, new):
    assert CODE.count(old) == 1
    assert parsed(CODE.replace(old, new)) != parsed(CODE)


def test_layout_is_no_change_of_code_and_types_are_kept():
    code = "def scale(x, by=[]):\n    return x * 2\n"
    assert parsed(code) == parsed("def scale(x,by=[]):\n  return (x*2)")
    assert parsed("x = None") != parsed("x = 0") != parsed("x = False")
    assert parsed("x = 'a'") != parsed("y = 'a'")
    assert parsed("loss = losses.MeanSquaredError('sum')") != parsed("loss = losses.MeanSquaredError('mean')")


def test_reworded_modules_of_the_package_keep_their_hash_and_changed_constants_do_not(tmp_path, monkeypatch):
    """Every text in a `raise` or a print of the modules that training runs is reworded, in a copy."""
    before = fingerprints.code_digest(TRAINING)
    copy = shutil.copytree(PACKAGE, tmp_path / "lungkeras")
    monkeypatch.setattr(fingerprints, "PACKAGE", copy)
    reworded = 0
    for name in TRAINING:
        tree = ast.parse((copy / f"{name}.py").read_text())
        speaking = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
        speaking += [
            node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
        ]
        for text in (part for node in speaking for part in ast.walk(node)):
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                text.value, reworded = f"{text.value}, in other words", reworded + 1
        (copy / f"{name}.py").write_text("import colorsys\n" + ast.unparse(tree))
    assert reworded > 30
    assert fingerprints.code_digest(TRAINING) == before
    file = copy / "training.py"
    assert "epsilon=1e-08" in file.read_text()
    file.write_text(file.read_text().replace("epsilon=1e-08", "epsilon=1e-07"))
    assert fingerprints.code_digest(TRAINING) != before


def test_a_reader_within_bounds_counts_as_the_one_that_it_stands_for():
    plain = "import json\nimport pandas as pd\ndef f(x):\n    return json.loads(x), pd.read_parquet(x)\n"
    bounded = "from lungkeras import safe_json, safe_tables\n" + plain.split("\n", 2)[2].replace("json.", "safe_json.")
    bounded = bounded.replace("pd.", "safe_tables.")
    assert fingerprints.syntax(ast.parse(bounded)) == fingerprints.syntax(ast.parse(plain))
    assert fingerprints.syntax(ast.parse(bounded.replace("loads", "dumps"))) != fingerprints.syntax(ast.parse(plain))


def imports(module: str) -> set[str]:
    """The modules of the package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lungkeras":
            path = node.module.split(".")[1:]
            found |= {"/".join(path), "/".join([*path, "__init__"])} - {"__init__"}
            found |= {"/".join([*path, alias.name]) for alias in node.names}
    return {name for name in found if (PACKAGE / f"{name}.py").is_file()}


@pytest.mark.parametrize(
    ("start", "named"),
    [("training", {*TRAINING}), ("preparation", {*PREPARATION, *(f"datasets/{dataset}" for dataset in DATASETS)})],
)
def test_every_module_that_decides_a_number_is_part_of_the_code(start, named):
    seen, ahead = set(), {start}
    while ahead:
        module = ahead.pop()
        seen.add(module)
        ahead |= imports(module) - seen - HARMLESS
    assert seen == named, "name the module in fingerprints, or above where it moves no number"


def test_every_named_module_is_there():
    assert len(fingerprints.code_digest([*PREPARATION, *TRAINING])) == 64


@pytest.fixture(scope="module")
def prepared(phantom_source, tmp_path_factory):
    source = shutil.copytree(phantom_source("pneumonia"), tmp_path_factory.mktemp("fingerprints") / "source")
    prepare_dataset("pneumonia", source, source.parent / "prepared", size=32)
    return source, source.parent / "prepared"


def test_a_prepared_dataset_is_recognised_by_its_source_params_and_code(prepared, tmp_path, monkeypatch):
    source, folder = prepared
    copy, moved = shutil.copytree(folder, tmp_path / "copy"), shutil.copytree(source, tmp_path / "moved")
    for file in (*copy.rglob("*"), *moved.rglob("*")):
        os.utime(file, (0, 1_000_000_000))

    def same(source=moved, size=32, seed=0):
        return is_prepared(copy, "pneumonia", source, size=size, seed=seed)

    assert same()
    assert same(source=tmp_path / "a source that a colleague kept")
    assert not same(size=64)
    assert not same(seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(fingerprints, "code_digest", lambda modules: "of another version")
        assert not same()
    scan = next(file for file in sorted(moved.rglob("*")) if file.suffix in (".jpeg", ".png"))
    scan.write_bytes(scan.read_bytes()[:-1] + b"?")
    assert not same()


def test_the_fingerprint_is_of_what_was_prepared(prepared, tmp_path):
    _, folder = prepared
    recorded = fingerprints.read(folder / "statistics.json")["fingerprint"]
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert of_prepared(copy) == recorded
    images = np.load(copy / "val.npy", mmap_mode="r+")
    images[0, 0, 0] ^= 1
    images.flush()
    assert of_prepared(copy) != recorded
    (copy / "test.npy").unlink()
    assert of_prepared(copy) is None


def test_a_published_test_list_counts_where_the_split_goes_by_it(phantom_source, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(phantom_source("xray8"), source)
    prepare_dataset("xray8", source, tmp_path / "xray8", size=32, split="official")

    def same(split):
        return is_prepared(tmp_path / "xray8", "xray8", source, size=32, seed=0, split=split)

    assert same("official") and not same("patients")
    with (source / "test_list.txt").open("a") as file:
        file.write("00099999_000.png\n")
    assert not same("official")
    shutil.rmtree(source)
    assert same("official")
