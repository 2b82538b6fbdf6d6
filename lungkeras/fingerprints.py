"""What a prepared dataset, a run and a report were made from, as SHA-256: equal hashes need no computing.

    prepared/<study>/<dataset>/statistics.json   "fingerprint": of arrays, records and statistics
                                                 "made_from": {"params", "sources", "code"}
                                                 "files": of each of the other files, byte for byte
    runs/<run>/fingerprint.json                  "made_from": {"params", "prepared", "weights", "code"}
                                                 "results": of each file
    reports/<study>/fingerprint.json             of each notebook that reads the runs

Neither dates nor places count: a copied folder is recognised wherever it lies, and a changed byte is noticed. What is
not there to be hashed (a source that a colleague kept, the prepared dataset of a run) can't have changed.

The version of the code is a hash of the modules that decide numbers, as Python parses them: a line that computes
something else counts. What only a reader sees does not (`syntax`): comments, docstrings, line breaks, imports,
annotations, and the words of errors, warnings and printed lines. A number bumped by hand would be forgotten once, and
then tables would hold runs of two codes.
"""

import ast
import builtins
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lungkeras import errors, safe_json, safe_tables
from lungkeras.files import as_json
from lungkeras.params import Params
from lungkeras.progress import progress

PACKAGE = Path(__file__).resolve().parent
PREPARATION = (
    "audit/alignment",
    "audit/duplicates",
    "audit/hashing",
    "compressed",
    "decoding",
    "dicom",
    "jpeg",
    "opencv",
    "png",
    "preparation",
    "splits",
    "datasets/__init__",
    "datasets/boxes",
    "datasets/drawn",
    "datasets/folders",
    "datasets/lists",
    "datasets/records",
)
TRAINING = (
    *("architectures", "augmentation", "backbones", "depthwise", "devices", "divergence", "layers", "metrics"),
    *("models", "opencv", "optimizers", "pipeline", "replicas", "resnet", "temperature", "training"),
)
# Params that say where something lies or what it is called, not what is computed. Of `weights` the file counts, of
# `split` the data, of `seeds` the run's own seed.
PLACES = {"title", "source", "acquire", "scans", "prepared", "runs", "weights", "seeds", "split"}
STATISTICS = ("task", "classes", "size", "mean", "std")
EXCEPTIONS = {
    name
    for name, value in (vars(builtins) | vars(errors)).items()
    if isinstance(value, type) and issubclass(value, BaseException)
}
OWN_FILE = re.compile(r"\w{1,40}\.[a-z0-9]{1,10}")  # in the folder itself
# Readers within bounds, by the module whose function of the same name they stand for: numbers are the same.
WITHIN_BOUNDS = {"safe_json": "json", "safe_tables": "pd", "safe_arrays": "np"}
LOGGING = {"warn", "debug", "info", "warning", "error", "exception", "critical", "log"}
RESULTS = ("params.yaml", "environment.json", "best.keras", "history.csv", "predictions.parquet", "metrics.json")


def digest(*parts: str) -> str:
    """SHA-256 of texts, in hexadecimal; ("a", "b") and ("ab",) differ."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_digest(modules: Iterable[str]) -> str:
    """SHA-256 of modules of the package as Python parses them, without words for readers; the same for every Python."""
    trees = (ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8")) for name in modules)
    return digest(*map(syntax, trees))


def syntax(tree: ast.AST) -> str:
    """A syntax tree as text, without what decides no number; the tree is changed in place.

    Left out are imports, docstrings, annotations, statements that print, warn or log, what an exception is made of (its
    class stays, as it decides who catches it), messages of assertions, descriptions of progress bars, texts that only
    these used, places in the file, and fields that only newer Pythons have empty.
    """
    return _as_text(_Words().visit(tree))


def _as_text(node: object) -> str:
    if isinstance(node, list):
        return f"[{','.join(map(_as_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value is not None and value != []}
    return f"{type(node).__name__}({','.join(f'{name}={_as_text(value)}' for name, value in fields.items())})"


class _Words(ast.NodeTransformer):
    """Removes what `syntax` leaves out."""

    def visit_Import(self, node):
        return None

    def visit_ImportFrom(self, node):
        return None

    def visit_Name(self, node):
        node.id = WITHIN_BOUNDS.get(node.id, node.id)
        return node

    def visit_If(self, node):
        return None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else self.generic_visit(node)

    def visit_Expr(self, node):
        return None if _is_text(node.value) or _speaks(node.value) else self.generic_visit(node)

    def visit_Raise(self, node):
        node.cause = None
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return self.generic_visit(node)

    def visit_Call(self, node):
        if _last_name(node.func) in EXCEPTIONS:  # made here, raised elsewhere
            return self.visit(node.func)
        node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
        return self.generic_visit(node)

    def visit_Assert(self, node):
        node.msg = None
        return self.generic_visit(node)

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_AnnAssign(self, node):
        node.annotation = None
        return self.generic_visit(node)

    def visit_FunctionDef(self, node):
        node.returns = None
        self.generic_visit(node)
        texts = {id(text): text.targets[0].id for text in ast.walk(node) if _names_a_text(text)}
        while texts:
            kept = [part for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)]
            unused = {place for place, name in texts.items() if name not in {part.id for part in kept}}
            if not unused:
                break
            _Without(unused).visit(node)
            texts = {place: name for place, name in texts.items() if place not in unused}
        return node

    visit_AsyncFunctionDef = visit_FunctionDef


class _Without(ast.NodeTransformer):
    """Removes statements, by their identity."""

    def __init__(self, places: set[int]):
        self.places = places

    def visit_Assign(self, node):
        return None if id(node) in self.places else node


def _last_name(node: ast.AST) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def _speaks(node: ast.AST) -> bool:
    """Whether an expression prints, warns, or logs: print(...), warnings.warn(...), logger.info(...), say(...)."""
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute):
        return _last_name(node.func.value) in ("warnings", "logging", "logger") and node.func.attr in LOGGING
    return _last_name(node.func) in ("print", "say")


def _is_text(node: ast.AST) -> bool:
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) and _is_text(node.orelse)
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _names_a_text(node: ast.AST) -> bool:
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
        return False
    return _is_text(node.value)


def of_sources(records, source: Path) -> str:
    """SHA-256 of a source as it was read: its records (a DataFrame with the column `path`), and each scan's bytes."""
    paths = [source / path for path in records["path"]]
    with ThreadPoolExecutor() as pool:
        scans = list(progress(pool.map(_scan_digest, paths), total=len(paths), description="hashing scans"))
    return digest(records.to_csv(index=False), *scans)


def _scan_digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError:  # it ends in the quarantine
        return "not to be read"


def of_prepared(folder: Path) -> str | None:
    """SHA-256 of a prepared dataset's arrays, records and statistics; None where one of them is missing or broken."""
    try:
        records = safe_tables.read_parquet(folder / "records.parquet").to_csv(index=False)
        statistics = safe_json.read(folder / "statistics.json")
        arrays = [file_digest(folder / f"{split}.npy") for split in ("train", "val", "test")]
        return digest(records, as_json([statistics[key] for key in STATISTICS]), *arrays)
    except (OSError, ValueError, KeyError):
        return None


def changed_files(folder: Path, recorded: Mapping[str, str]) -> dict[str, str | None]:
    """The files of a folder that no longer have the hash that was recorded of them, with the file that had their hash.

    {"val.npy": "test.npy", "test.npy": "val.npy"} where two were swapped; None where no file had it. What is no plain
    name of a file, as a copied folder may hold it, is left out.
    """
    recorded = {name: value for name, value in _pairs(recorded) if OWN_FILE.fullmatch(name)}
    now = {name: file_digest(folder / name) for name in recorded if (folder / name).is_file()}
    owner = {value: name for name, value in recorded.items()}
    return {name: owner.get(value) for name, value in now.items() if value != recorded[name]}


def _pairs(recorded: object) -> list[tuple[str, str]]:
    """The pairs of texts in what a file of hashes holds, which may be a stranger's."""
    pairs = recorded.items() if isinstance(recorded, dict) else ()
    return [pair for pair in pairs if all(isinstance(word, str) for word in pair)]


def preparation_made_from(
    dataset: str, source: Path | None, *, size: int, seed: int, split: str = "patients", records=None
) -> dict[str, str | None]:
    """The hashes of what a prepared dataset is made from; that of the source is None where the source is not there.

    `records` are those of the source where the caller has read them already. Raises SourceError for a broken source.
    """
    from lungkeras.datasets import read_records
    from lungkeras.datasets.boxes import read_boxes
    from lungkeras.datasets.xray8 import official_test_scans

    if records is None and source is not None and source.is_dir():
        records = read_records(dataset, source, seed=seed)
    official = split == "official" and dataset == "xray8"
    sources = None
    if records is not None:
        boxes = read_boxes(dataset, source, records).to_csv(index=False)
        sources = digest(of_sources(records, source), boxes)
    return {
        "params": digest(dataset, str(size), str(seed), *(["official"] if official else [])),
        "sources": digest(sources, *official_test_scans(source)) if official and sources else sources,
        "code": code_digest((*PREPARATION, f"datasets/{dataset}")),
    }


def training_made_from(params: Params, prepared: str | None) -> dict[str, str | None]:
    """The hashes of what a run is made from. `prepared` is that of its dataset (`of_prepared`)."""
    named = params.weights in ("random", "imagenet")
    file = None if named else params.transfer_file
    return {
        "params": digest(as_json(params.model_dump(exclude=PLACES))),
        "prepared": prepared,
        "weights": params.weights if named else file_digest(file) if file.is_file() else None,
        "code": code_digest(TRAINING),
    }


def of_results(folder: Path) -> dict[str, str]:
    """SHA-256 of each file that a run leaves. Raises OSError where one is missing."""
    return {name: file_digest(folder / name) for name in RESULTS}


def read(file: Path) -> dict:
    """A JSON file of hashes; empty where it is missing or broken."""
    try:
        held = safe_json.read(file)
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def agree(recorded: Mapping[str, str], now: Mapping[str, str | None]) -> bool:
    """Whether all that is there to be hashed has the hash that was recorded."""
    return all(value is None or recorded.get(key) == value for key, value in now.items())


def is_prepared(
    folder: Path, dataset: str, source: Path | None, *, size: int, seed: int, split: str = "patients"
) -> bool:
    """Whether a prepared dataset stands there, made from this source with this size, seed and split, by this code."""
    recorded = dict(_pairs(read(folder / "statistics.json").get("made_from")))
    return bool(recorded) and agree(recorded, preparation_made_from(dataset, source, size=size, seed=seed, split=split))


def is_trained(folder: Path, params: Params, prepared: str | None) -> bool:
    """Whether a run stands there, complete and unchanged, that was made from these params and these data."""
    recorded = read(folder / "fingerprint.json")
    try:
        unchanged = recorded.get("results") == of_results(folder)
    except OSError:
        return False
    return unchanged and agree(dict(_pairs(recorded.get("made_from"))), training_made_from(params, prepared))
