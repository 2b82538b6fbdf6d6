"""Identity by hash: what counts as the same data and the same code, and what does not."""

import ast
import json
import os
import shutil
import textwrap

import numpy as np
import pytest

from lungkeras.datasets.registry import DATASETS
from lungkeras.preparation import made_from
from lungkeras.preparation.made_from import OWN, PREPARATION, is_prepared, of_prepared
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.study.made_from import TRAINING
from lungkeras.system import provenance
from lungkeras.system.provenance import PACKAGE, syntax

# Modules that training or preparation import and that move no number.
HARMLESS = {
    *(
        "models/complexity",
        "datasets/scans/workers",
        "study/params",
        "study/params_files",
        "datasets/phantoms/phantom",
        "datasets/encoding",
        "datasets/entry",
        "datasets/plans",
    ),
    *(
        f"system/{name}"
        for name in ("backends", "errors", "files", "lazy", "locks", "machine", "places", "processes", "progress")
    ),
    *("system/provenance", "system/text"),
    *(f"system/untrusted/{kind}_files" for kind in ("array", "hdf5", "json", "keras", "table")),
    *("system/untrusted/archives", "system/untrusted/keras_graphs"),
    *("preparation/made_from", "study/made_from", "training/trackers"),
}

COLLECTIONS = [f"datasets/collections/{dataset}" for dataset in DATASETS]
CODE = '''
"""A module."""
import warnings
import numpy as np
from lungkeras.system.errors import RunError

def scale(x: float, by=[]) -> float:
    """Doubles."""
    advice = f"give {by}"
    said = "received " + str(x)
    if x < 0:
        raise RunError(f"x: expected a positive number; {said}. {advice}") from None
    print("doubling", x, flush=True)
    trackers.epoch(x, by)
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
    ("from lungkeras.system.errors", "from lungkeras.other_errors"),
    ("x: float", "x: int"),
    ("Doubles", "Two times"),
    ("give {by}", "give {by} and more"),
    ('    advice = f"give {by}"\n', ""),
    ("received ", "got "),
    ("x: expected", "x: wants"),
    (" from None", ""),
    ('print("doubling", x', 'print("twice"'),
    ('    print("doubling", x, flush=True)\n', ""),
    ("trackers.epoch(x, by)", "trackers.epoch(by)"),
    ("    trackers.epoch(x, by)\n", ""),
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
def test_text_for_readers_does_not_change_the_hash_of_code(old, new):
    assert CODE.count(old) >= 1
    assert parsed(CODE.replace(old, new)) == parsed(CODE)


@pytest.mark.parametrize(("old", "new"), NUMBERS)
def test_whatever_decides_a_number_changes_the_hash_of_code(old, new):
    assert CODE.count(old) == 1
    assert parsed(CODE.replace(old, new)) != parsed(CODE)


def test_layout_does_not_change_the_hash_of_code_and_types_do():
    code = "def scale(x, by=[]):\n    return x * 2\n"
    assert parsed(code) == parsed("def scale(x,by=[]):\n  return (x*2)")
    assert parsed("x = None") != parsed("x = 0") != parsed("x = False")
    assert parsed("x = 'a'") != parsed("y = 'a'")
    assert parsed("loss = losses.MeanSquaredError('sum')") != parsed("loss = losses.MeanSquaredError('mean')")


def test_reworded_modules_of_the_package_keep_their_hash_and_changed_constants_do_not(tmp_path, monkeypatch):
    """Every text in a `raise` or a print of the modules that training runs is reworded, in a copy."""
    before = provenance.code_digest(TRAINING)
    copy = shutil.copytree(PACKAGE, tmp_path / "lungkeras")
    monkeypatch.setattr(provenance, "PACKAGE", copy)
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
    assert provenance.code_digest(TRAINING) == before
    file = copy / "training" / "one_run.py"
    assert "epsilon=1e-08" in file.read_text()
    file.write_text(file.read_text().replace("epsilon=1e-08", "epsilon=1e-07"))
    assert provenance.code_digest(TRAINING) != before


def test_a_moved_definition_does_not_change_the_hash_of_code(tmp_path, monkeypatch):
    for name, first, second in (("before", "A = 1\ndef f():\n    return 1\n", "B = 2\n"),
                                ("moved", "import b\nA = 1\n", "B = 2\ndef f():\n    return 1\n"),
                                ("changed", "import b\nA = 1\n", "B = 2\ndef f():\n    return 2\n"),
                                ("lost", "import b\nA = 1\n", "B = 2\n")):  # fmt: skip
        (tmp_path / name / "folder").mkdir(parents=True)
        (tmp_path / name / "a.py").write_text(first)
        (tmp_path / name / "folder" / "b.py").write_text(second)
    hashes = []
    for name in ("before", "moved", "changed", "lost"):
        monkeypatch.setattr(provenance, "PACKAGE", tmp_path / name)
        hashes.append(provenance.code_digest(["a", "folder/b"]))
    before, moved, changed, lost = hashes
    assert before == moved
    assert len({before, changed, lost}) == 3


def test_what_earlier_code_has_made_is_fresh_as_long_as_the_code_computes_the_same():
    earlier, now = next(iter(provenance.SAME_NUMBERS.items()))
    assert provenance.agree({"params": "p", "code": earlier}, {"params": "p", "code": now})
    assert not provenance.agree({"params": "p", "code": earlier}, {"params": "q", "code": now})
    assert not provenance.agree({"code": earlier}, {"code": "of code that computes something else"})
    assert not provenance.agree({"code": "of unknown code"}, {"code": now})


def test_a_bounded_reader_counts_as_the_function_that_it_replaces():
    plain = "import json\nimport pandas as pd\ndef f(x):\n    return json.loads(x), pd.read_parquet(x)\n"
    bounded = "from lungkeras.system.untrusted import json_files, table_files\n" + plain.split("\n", 2)[2].replace(
        "json.", "json_files."
    )
    bounded = bounded.replace("pd.", "table_files.")
    assert syntax(ast.parse(bounded)) == syntax(ast.parse(plain))
    assert syntax(ast.parse(bounded.replace("loads", "dumps"))) != syntax(ast.parse(plain))


def imports(module: str) -> set[str]:
    """The modules of the package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lungkeras":
            path = "/".join(node.module.split(".")[1:])
            for alias in node.names:
                places = (f"{path}/{alias.name}".strip("/"), path, f"{path}/__init__")
                found.add(next(place for place in places if (PACKAGE / f"{place}.py").is_file()))
    return found


@pytest.mark.parametrize(
    ("start", "named", "harmless"),
    [
        (
            ("training/one_run", "models/own/resnet34"),
            {*TRAINING},
            {"splits", "training/batch_memory", "models/__init__", "models/own/__init__"},
        ),  # of which it knows the names of the splits
        (
            ("preparation/prepare", *COLLECTIONS),
            {*PREPARATION, *COLLECTIONS, *OWN},
            {
                "datasets/__init__",
                "datasets/collections/__init__",
                "system/untrusted/plain_files",
                "system/untrusted/yaml_files",
            },
        ),
    ],
)
def test_every_module_that_decides_a_number_is_part_of_the_code(start, named, harmless):
    seen, ahead = set(), {*start}
    while ahead:
        module = ahead.pop()
        seen.add(module)
        ahead |= imports(module) - seen - HARMLESS - harmless
    assert seen == named, "name the module in made_from, or above where it moves no number"


def test_every_named_module_exists():
    assert len(provenance.code_digest([*PREPARATION, *TRAINING])) == 64


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
        patch.setattr(made_from, "code_digest", lambda modules: "of another version")
        assert not same()
    scan = next(file for file in sorted(moved.rglob("*")) if file.suffix in (".jpeg", ".png"))
    scan.write_bytes(scan.read_bytes()[:-1] + b"?")
    assert not same()


def test_what_was_prepared_before_the_modules_moved_is_fresh(prepared, tmp_path):
    source, folder = prepared
    earlier = {now: old for old, now in provenance.SAME_NUMBERS.items()}
    statistics = json.loads((folder / "statistics.json").read_text())
    if statistics["made_from"]["code"] not in earlier:
        pytest.skip("the code computes something else since: nothing of before is fresh, as it should be")
    statistics["made_from"]["code"] = earlier[statistics["made_from"]["code"]]
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "statistics.json").write_text(json.dumps(statistics))
    assert is_prepared(copy, "pneumonia", source, size=32, seed=0)


def test_the_fingerprint_is_of_what_was_prepared(prepared, tmp_path):
    _, folder = prepared
    recorded = provenance.read(folder / "statistics.json")["fingerprint"]
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
