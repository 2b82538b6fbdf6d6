"""Each way in and out has one room: what reads a stranger's file, starts a process or speaks does so there alone."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "lungkeras"
# Name -> the modules that may use it; * stands for any ending.
ROOMS = {
    # prints writes; array_files opens what archives has checked
    "zipfile.ZipFile*": {"system/untrusted/archives", "system/untrusted/array_files", "preparation/prints"},
    "zipfile.Path": set(),
    "tarfile.*": {"system/untrusted/archives"},
    "shutil.unpack_archive": set(),
    "pd.read_*": {"system/untrusted/table_files", "datasets/collections/xray8"},  # which looks through its list before
    "parquet.*": {"system/untrusted/table_files"},
    "np.load": {"system/untrusted/array_files", "prediction/isolated"},  # what its own processes say
    "np.fromfile": set(),
    "np.loadtxt": set(),
    "np.genfromtxt": set(),
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
    "yaml.load*": set(),
    "yaml.full_load*": set(),
    "yaml.unsafe_load*": set(),
    "ElementTree.*": {"system/untrusted/openvino_files"},
    "h5py.File": {"system/untrusted/hdf5_files", "prediction/keras_layers"},  # which reads a member of a checked model
    "keras.models.load_model": {"models/files"},
    "keras.saving.load_model": set(),
    "subprocess.*": {
        "prediction/isolated",
        "datasets/scans/workers",
        "training/parity",
        "system/replicas",
        "system/stopping",
    },
    "multiprocessing.*": {"prediction/isolated"},
    "concurrent.futures.ProcessPoolExecutor": set(),
    "os.open": {"system/files"},
    "os.system": set(),
    "os.popen": set(),
    "os.exec*": set(),
    "os.spawn*": set(),
    "os.posix_spawn*": set(),
    "os.fork*": set(),
    "pickle.*": set(),
    "marshal.*": set(),
    "shelve.*": set(),
    "joblib.*": set(),
    "runpy.*": set(),
    "ctypes.*": set(),
    "urllib.request.*": set(),
    "requests.*": set(),
    "torch.load": set(),
    "print": {"system/text"},
    "eval": set(),
    "exec": set(),
    "__import__": set(),
    "importlib.import_module": {"system/lazy", "system/notebooks"},  # of our own names
    # Files are written by system/files, whole or not at all.
    "shutil.copy*": set(),
    "shutil.move": set(),
    "cv2.imwrite": set(),
    "np.save*": {"system/files", "prediction/isolated", "training/parity", "datasets/packed"},
}
SHORT = {"pandas": "pd", "numpy": "np", "pyarrow.parquet": "parquet", "xml.etree.ElementTree": "ElementTree"}
# Method -> the modules that may call it: what draws a source writes into a folder that appears whole.
DRAWN = {"datasets/phantoms/phantom", "datasets/phantoms/truth"} | {
    f"datasets/collections/{name}"
    for name in ("chexpert", "mimic", "padchest", "rsna", "tuberculosis", "vindr", "xray8")
}
WRITERS = {
    "write_text": {"system/files", "datasets/phantoms/phantom"},
    "write_bytes": {"prediction/predict", "report/figures/errors"} | DRAWN,  # the first two to a name of `atomic`
    "to_csv": {"system/files", "datasets/collections/padchest"},
    "to_parquet": {"system/files"},
    "to_excel": {"datasets/collections/covid"},
    "to_json": set(),
    "to_pickle": set(),
    "to_hdf": set(),
    "savefig": {"report/figures/files", "report/display"},
    "tofile": set(),
    "open": {"system/files", "system/untrusted/archives", "preparation/prints", "datasets/scans/workers"},
}
MODULES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(tree: ast.AST) -> dict[str, str]:
    """A module's own name of what it imports -> the name that it has here."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.asname: one.name for one in node.names if one.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return names


def name_of(node: ast.AST, names: dict[str, str]) -> str:
    """np.load for whatever a module calls it; empty for what no name leads to."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    name = ".".join([names.get(node.id, node.id), *reversed(parts)])
    long = next((long for long in SHORT if name == long or name.startswith(f"{long}.")), "")
    return SHORT[long] + name[len(long) :] if long else name


def is_meant(name: str, room: str) -> bool:
    return name.startswith(room[:-1]) if room.endswith("*") else name == room


def writes(node: ast.Call, name: str) -> str:
    """The method by which a call writes a file, or nothing."""
    method = getattr(node.func, "attr", name)
    if method == "open" and name not in ("os.open", "Image.open"):
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        modes = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        return method if any(set(mode) <= set("rwxabt+") and set(mode) & set("wxa+") for mode in modes) else ""
    if method in ("to_csv", "to_json"):  # without a file they return a text
        return method if node.args or any(keyword.arg == "path_or_buf" for keyword in node.keywords) else ""
    return method if isinstance(node.func, ast.Attribute) and method in WRITERS else ""


def strays(module: str, code: str) -> list[str]:
    """What a module uses that belongs into another: line and name."""
    tree = ast.parse(code)
    names, found = imported(tree), []
    hinted = [getattr(node, part, None) for node in ast.walk(tree) for part in ("annotation", "returns")]
    passed = {id(one) for hint in hinted if hint for one in ast.walk(hint)}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    passed |= {id(call.func) for call in calls if any(keyword.arg == "mmap_mode" for keyword in call.keywords)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            method = writes(node, name_of(node.func, names))
            if (method and module not in WRITERS[method]) or any(one.arg == "shell" for one in node.keywords):
                found.append(f"{node.lineno}: {ast.unparse(node.func)}")
        elif isinstance(node, ast.Attribute | ast.Name) and id(node) not in passed:
            name = name_of(node, names)
            if any(is_meant(name, room) and module not in known for room, known in ROOMS.items()):
                found.append(f"{node.lineno}: {name}")
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
        "import pandas as p; p.read_csv(path)",
        "import pyarrow.parquet as pq; pq.ParquetFile(path)",
        "from subprocess import run as start; start(['ls'])",
        "from json import loads; loads(text)",
        "map(json.loads, lines)",
        "read = pd.read_pickle",
        "yaml.load(text, yaml.SafeLoader)",
        "pickle.loads(data)",
        "os.system('ls')",
        "os.posix_spawn(path, [], {})",
        "multiprocessing.Process(target=work)",
        "open(path, 'w')",
        "open(path, mode='ab')",
        "path.open('w')",
        "Path(name).write_text('a')",
        "(folder / 'a').write_bytes(b'a')",
        "frame.to_csv(path)",
        "frame.to_json(path_or_buf=path)",
        "shutil.copyfile(one, other)",
        "np.savetxt(path, array)",
        "cv2.imwrite(path, image)",
        "h5py.File(path)",
        "import xml.etree.ElementTree as tree; tree.parse(path)",
        "keras.models.load_model(path)",
        "__import__(name)",
    ],
)
def test_a_stray_call_is_found(code):
    assert len(strays("somewhere", code)) == 1


def test_an_allowed_call_is_not_reported():
    code = """np.load(path, mmap_mode='r')
safe_json.loads(text)
say('a')
model.load(path)
path.open('rb')
open('w.txt')
frame.to_csv(index=False)
write_text(path, 'a')
def end(process: subprocess.Popen) -> zipfile.ZipFile: ...
"""
    assert strays("somewhere", code) == []


def test_every_named_module_is_in_use():
    assert {module for known in (*ROOMS.values(), *WRITERS.values()) for module in known} <= set(MODULES)


def test_every_python_that_is_started_takes_no_module_from_the_folder_it_starts_in():
    starts = []
    for module in sorted(ROOMS["subprocess.*"]):
        for node in ast.walk(ast.parse(MODULES[module].read_text())):
            if isinstance(node, ast.List) and node.elts and ast.unparse(node.elts[0]) in ("sys.executable", "python"):
                starts.append((module, ast.literal_eval(node.elts[1])))
    assert {module for module, _ in starts} == ROOMS["subprocess.*"]
    assert {option for _, option in starts} == {"-P"}
