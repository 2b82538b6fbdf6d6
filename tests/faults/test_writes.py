"""Only system/files.py writes to final names: what else writes does so to a temporary that files.py hands out."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "lungkeras"
WRITES = {
    *("write_text", "write_bytes", "to_csv", "to_parquet", "to_json", "to_html", "to_excel", "to_pickle", "to_feather"),
    *("save", "savez", "savez_compressed", "savetxt", "savefig", "save_weights", "imwrite", "memmap"),
    *("tofile", "touch", "copyfile", "copytree"),
}
# What makes a temporary that takes its place whole, or vanishes.
WHOLE = {"atomic", "atomic_folder", "temporary_folder", "replaced_folder", "_whole_folder", "TemporaryDirectory"}
# Functions that fill a folder which their caller makes appear whole, or write into memory or to /dev/null.
WITHIN = {
    "prediction/isolated": {"_packed"},
    "datasets/scans/workers": {"serve"},
    "datasets/phantoms/phantom": {"_draw", "write", "_write_boxes"},
    **{f"datasets/collections/{file.stem}": {"write_lists"} for file in PACKAGE.glob("datasets/collections/*.py")},
    "datasets/phantoms/truth": {"write_truth"},
    "training/parity": {"measure"},
    "datasets/packed": {"pack"},
    "report/pictures": {"embedded"},
    "report/display": {"figure_picture"},
    "report/figures/files": {"webp"},
    "system/untrusted/archives": {"unpack"},
}


def writes(code: str) -> list[tuple[str, int, str]]:
    """(function, line, call) of each call of a module that writes to a path, outside of a block that is WHOLE."""
    found = []

    def walk(node: ast.AST, function: str) -> None:
        if isinstance(node, ast.FunctionDef) and not function:
            function = node.name
        if isinstance(node, ast.With) and any(_name(item.context_expr) in WHOLE for item in node.items):
            return
        if isinstance(node, ast.Call) and _is_write(node):
            found.append((function, node.lineno, _name(node)))
        for child in ast.iter_child_nodes(node):
            walk(child, function)

    walk(ast.parse(code), "")
    return found


def _name(node: ast.AST) -> str:
    function = node.func if isinstance(node, ast.Call) else node
    return getattr(function, "attr", getattr(function, "id", ""))


def _is_write(call: ast.Call) -> bool:
    name = _name(call)
    if name in ("open", "open_memmap"):
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        modes = [word.value for word in given if isinstance(word, ast.Constant) and isinstance(word.value, str)]
        return any(set(mode) & set("wax+") and set(mode) <= set("rwaxbt+") for mode in modes)
    is_ours = isinstance(call.func, ast.Name)  # files.write_text
    return name in WRITES and bool(call.args) and not is_ours  # without a path they give a text


def test_only_the_module_files_writes_to_a_final_name():
    bare = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        module = file.relative_to(PACKAGE).with_suffix("").as_posix()
        if module != "system/files":
            found = [write for write in writes(file.read_text()) if write[0] not in WITHIN.get(module, ())]
            bare |= {module: found} if found else {}
    assert bare == {}


@pytest.mark.parametrize(
    "code",
    [
        "open(path, 'w')",
        "path.open('xb')",
        "open(path, mode='a')",
        "frame.to_csv(path)",
        "np.save(path, array)",
        "def save(path):\n    figure.savefig(path)",
        "path.write_text('')",
        "with other(path) as temporary:\n    temporary.write_text('')",
    ],
)
def test_a_bare_write_is_found(code):
    assert len(writes(code)) == 1


def test_a_write_to_a_temporary_name_is_not_reported():
    code = "with atomic(path) as temporary:\n    frame.to_csv(temporary)\nopen(path)\npath.open('rb')\nframe.to_csv()"
    assert writes(code) == []
