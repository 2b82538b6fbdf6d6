"""Each way in and out has one room: what reads a stranger's file, starts a process or speaks does so there alone."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "lungkeras"
# Call -> the modules that may make it; * stands for any name.
ROOMS = {
    # prints writes; array_files opens what archives has checked
    "zipfile.*": {"system/untrusted/archives", "system/untrusted/array_files", "preparation/prints"},
    "tarfile.*": {"system/untrusted/archives"},
    "shutil.unpack_archive": set(),
    "pd.read_*": {"system/untrusted/table_files", "datasets/collections/xray8"},  # which looks through its list before
    "parquet.*": {"system/untrusted/table_files"},
    "np.load": {"system/untrusted/array_files", "prediction/isolated"},  # what its own processes say
    "np.fromfile": set(),
    "json.load": set(),
    "json.loads": {
        "system/untrusted/json_files",
        "models/build",
        "cli/commands/predict",
    },  # what they have written themselves a line before
    # Files of the package.
    "yaml.safe_load": {
        "report/checklists",
        "evaluation/paper/claims",
        "evaluation/paper/published",
        "report/page",
    },
    "yaml.load": set(),
    "subprocess.*": {
        "prediction/isolated",
        "datasets/scans/workers",
        "training/parity",
        "system/replicas",
        "system/stopping",
    },
    "os.open": {"system/files"},
    "os.system": set(),
    "os.popen": set(),
    "os.exec*": set(),
    "os.spawn*": set(),
    "pickle.*": set(),
    "joblib.*": set(),
    "torch.load": set(),
    "print": {"system/text"},
    "eval": set(),
    "exec": set(),
}
MODULES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


def called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return f"{function.value.id}.{function.attr}"
    return getattr(function, "id", "")


def is_meant(call: str, room: str) -> bool:
    return call.startswith(room[:-1]) if room.endswith("*") else call == room


def strays(module: str, code: str) -> list[str]:
    """The calls of a module that belong into another: line and name."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        call = called(node)
        is_mapped = call == "np.load" and any(keyword.arg == "mmap_mode" for keyword in node.keywords)
        wrong = [room for room, known in ROOMS.items() if is_meant(call, room) and module not in known]
        if (wrong and not is_mapped) or any(keyword.arg == "shell" for keyword in node.keywords):
            found.append(f"{node.lineno}: {call}")
    return found


def test_nothing_is_opened_started_or_printed_outside_its_module():
    assert {module: found for module, path in MODULES.items() if (found := strays(module, path.read_text()))} == {}


@pytest.mark.parametrize(
    "code",
    [
        "zipfile.ZipFile(path)",
        "pd.read_parquet(path)",
        "np.load(path)",
        "json.load(file)",
        "subprocess.run(['ls'])",
        "run('ls', shell=True)",
        "print('a')",
        "os.execv(path, [])",
    ],
)
def test_a_stray_call_is_found(code):
    assert len(strays("somewhere", code)) == 1


def test_an_allowed_call_is_not_reported():
    assert strays("somewhere", "np.load(path, mmap_mode='r')\nsafe_json.loads(text)\nsay('a')\nmodel.load(path)") == []


def test_every_named_module_is_in_use():
    assert {module for known in ROOMS.values() for module in known} <= set(MODULES)


def test_every_python_that_is_started_takes_no_module_from_the_folder_it_starts_in():
    starts = []
    for module in sorted(ROOMS["subprocess.*"]):
        for node in ast.walk(ast.parse(MODULES[module].read_text())):
            if isinstance(node, ast.List) and node.elts and ast.unparse(node.elts[0]) in ("sys.executable", "python"):
                starts.append((module, ast.literal_eval(node.elts[1])))
    assert {module for module, _ in starts} == ROOMS["subprocess.*"]
    assert {option for _, option in starts} == {"-P"}
